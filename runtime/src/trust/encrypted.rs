//! Private keys that are encrypted with a passphrase, as cosign and skopeo keep them.
//!
//! Source: go-securesystemslib, `encrypted`, which cosign writes with: JSON in PEM, which names
//! `scrypt` and its parameters, `nacl/secretbox`, and holds a PKCS #8 key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::KeyInit as _;
use crypto_secretbox::XSalsa20Poly1305;
use crypto_secretbox::aead::Aead as _;
use serde::Deserialize;

use super::key::InvalidKey;

/// What such a key is called; the second is its older name.
const LABELS: [&str; 2] = ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"];

/// The most memory that deriving a key may take, in bytes: cosign's takes 64 MiB.
const MEMORY_MAX: u64 = 128 << 20;

/// How often it may be derived over; cosign's is once.
const PASSES_MAX: u32 = 4;

#[derive(Deserialize)]
struct Sealed {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Kdf {
    name: String,
    params: Params,
    salt: String,
}

#[derive(Deserialize)]
struct Params {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

/// What is between the lines of PEM of such a key, where the text is one.
pub(super) fn find(text: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(text).ok()?;
    LABELS.iter().find_map(|label| {
        let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
        Some(rest.split_once(&format!("-----END {label}-----"))?.0)
    })
}

/// Decrypts what is between the lines of PEM.
pub(super) fn open(sealed: &str, passphrase: &[u8]) -> Result<Vec<u8>, InvalidKey> {
    let other = |what: &str| InvalidKey::Encryption(what.to_owned());
    let bytes = |text: &str| STANDARD.decode(text).map_err(|_| InvalidKey::Pem);
    let text: String = sealed.split_ascii_whitespace().collect();
    let sealed: Sealed =
        serde_json::from_slice(&bytes(&text)?).map_err(|error| other(&error.to_string()))?;
    if sealed.kdf.name != "scrypt" || sealed.cipher.name != "nacl/secretbox" {
        return Err(other("`scrypt` and `nacl/secretbox` are expected"));
    }
    let Params { n, r, p } = sealed.kdf.params;
    let memory = n.saturating_mul(u64::from(r)).saturating_mul(128);
    if MEMORY_MAX < memory || PASSES_MAX < p {
        return Err(other("its key would take more than 128 MiB or four passes to derive"));
    }
    if !n.is_power_of_two() {
        return Err(other("its `N` is no power of two"));
    }
    let log_n = u8::try_from(n.trailing_zeros()).unwrap_or(u8::MAX);
    let params = scrypt::Params::new(log_n, r, p, 32)
        .map_err(|_| other("`scrypt` does not take its parameters"))?;
    let mut key = crypto_secretbox::Key::default();
    scrypt::scrypt(passphrase, &bytes(&sealed.kdf.salt)?, &params, &mut key)
        .map_err(|_| other("`scrypt` does not take its parameters"))?;
    let nonce = <[u8; 24]>::try_from(bytes(&sealed.cipher.nonce)?)
        .map_err(|_| other("its nonce has not 24 bytes"))?;
    XSalsa20Poly1305::new(&key)
        .decrypt(&nonce.into(), bytes(&sealed.ciphertext)?.as_slice())
        .map_err(|_| InvalidKey::WrongPassphrase)
}

/// Keys of these tests alone, which guard nothing.
#[cfg(test)]
pub(super) mod samples {
    /// Of `cosign generate-key-pair` 3.1.1; its passphrase is `test`.
    pub(crate) const COSIGN_KEY: &str = "\
-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n\
eyJrZGYiOnsibmFtZSI6InNjcnlwdCIsInBhcmFtcyI6eyJOIjo2NTUzNiwiciI6\n\
OCwicCI6MX0sInNhbHQiOiJ3bC93d3phTE5FNVdiNFV1cWFRSkRCRHJuMXprTzVE\n\
QVJpdGxHUjczTjBVPSJ9LCJjaXBoZXIiOnsibmFtZSI6Im5hY2wvc2VjcmV0Ym94\n\
Iiwibm9uY2UiOiJESlVWTjRGUUNBQWQ2Sm50ZUMwNEE3TEgzdG51UGRMNiJ9LCJj\n\
aXBoZXJ0ZXh0IjoiY0tRRnJxVmQ0LzlvUW1OQVF1VW1ScjdDZmZ0dG5aaHFEMW5t\n\
WUhoVVpRNkl2ZTFIOTl6Yi9hUk1BVmI1MFR5Ri9YQzlUaUdyZjgyeWpWcVQ1Z1hx\n\
QXphdzRwMmdlN0Foa1ordTR0MTVaOFhxVW05cjNlSG9nWkhqNVJrbzVmUWJjYnhr\n\
M3pBbmRwUnFPV1kreWxsUEpReGYyMGxHZnByMTZadmpBT0h2bC85QzkvcHdJRTNJ\n\
L3FubzhvT0RwUGpET0hhdkp1dEhiakZOVFE9PSJ9\n\
-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n";
    /// Its public half.
    pub(crate) const COSIGN_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAENGv0yCFwZHCHWx9hogukBAWJPtTB\n\
3R4RH/yjEzgE4NPZTJie+8HYZ7aS71v/Kehik6z8ltkqgWQI3ddbbknUPg==\n\
-----END PUBLIC KEY-----\n";
    /// Of `openssl genpkey`, whose private half is gone.
    pub(crate) const RSA_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA77G9mS50loxX4oDEupwz\n\
UWaME1aE9PjZX5KdqlQp7cRV3sdLZN4rS5WkjxkjuhYNhenHTpXq9miQBmyG1oBt\n\
hA4i1sLVB7DZDuGmMxgUplE2MKwjXHlejdEZV2eUc2aCld+fYD4VbkmXz+tEJoRT\n\
qEkTLhTObQSbFvRdzaN8bcOoZHwoXkMwGchcMHJzFAE3xoUopMv4S3ghfEl8V+EN\n\
tILK6I97X+CzqilqtiXsgWYQ1SgW5SdmUc0RFFsfymVJ5c4rp1t5Hi0EO6gFsTe/\n\
AJdSWXCGpwjhQoHIJdoopN5Q3uvt5Lk0kpj8wTjsdH5zqMXUStQIWjQqy8D8/2ml\n\
zwIDAQAB\n\
-----END PUBLIC KEY-----\n";
    /// Of `openssl dgst -sha256 -sign`, of a line that is `message`.
    pub(crate) const RSA_SIGNATURE: &str = "\
LrAHAKp313Hfmm4zuObLviSuEh4F4Onk2HrA7MpMqZRXVfIbYMifiGCJTUzTZgN5t/Qerwc1y8pz\
yzUI4EBnejIlz4YMxUVLk9m6Fqzo3uKnSfWhTdOUOkxVZ1yfddQUnYPN8bwUyqa+cDBCnngEXwJQ\
7eJlCtWXPbal+lvrI9THE4sKD1WvjxTR28JL50YiygSg7/opPFMj4BX6zmGJDbzeOzK+dai8wPAz\
HPsklYTqZwy1wMi17wD2k0ooLSSsaOWbP5jYkLu3o0Ty0lSONCkjBJZcxICThZEkqLbFPdHhWJLu\
ydjBrPf/cCDBkIinUHCa1u+fgwpouB8PsvFLdw==";
}

#[cfg(test)]
mod tests {
    use super::super::key::PublicKey;
    use super::super::key::SigningKey;
    use super::*;

    fn opened(text: &str, passphrase: Option<&str>) -> Result<SigningKey, InvalidKey> {
        SigningKey::parse(text.as_bytes(), passphrase.map(str::as_bytes))
    }

    /// The key of cosign with something else in its JSON.
    fn changed(from: &str, to: &str) -> String {
        let between = find(samples::COSIGN_KEY.as_bytes()).expect("a key");
        let text: String = between.split_ascii_whitespace().collect();
        let json = String::from_utf8(STANDARD.decode(text).expect("base64")).expect("text");
        assert!(json.contains(from), "{json}");
        let label = LABELS[1];
        let json = STANDARD.encode(json.replacen(from, to, 1));
        format!("-----BEGIN {label}-----\n{json}\n-----END {label}-----\n")
    }

    #[test]
    fn a_key_that_cosign_encrypted_opens_with_its_passphrase_and_no_other() {
        let key = opened(samples::COSIGN_KEY, Some("test")).expect("the key");
        let public = PublicKey::parse(samples::COSIGN_PUBLIC.as_bytes()).expect("a key");
        assert!(public.has_signed(b"m", &key.sign(b"m").expect("a signature")));

        let error = |passphrase| opened(samples::COSIGN_KEY, passphrase).expect_err("no key");
        assert_eq!(error(Some("toast")), InvalidKey::WrongPassphrase);
        assert_eq!(error(None), InvalidKey::Passphrase);
    }

    #[test]
    fn a_key_that_would_take_much_to_open_is_refused_before_it_does() {
        for (from, to, expected) in [
            ("\"N\":65536", "\"N\":1073741824", "128 MiB"),
            ("\"N\":65536", "\"N\":18446744073709551615", "128 MiB"),
            ("\"p\":1", "\"p\":4000000000", "four passes"),
            ("\"r\":8", "\"r\":4294967295", "128 MiB"),
            ("\"r\":8", "\"r\":0", "does not take"),
            ("\"N\":65536", "\"N\":65535", "power of two"),
            ("\"N\":65536", "\"N\":0", "power of two"),
            ("scrypt", "md5", "are expected"),
            ("nacl/secretbox", "rot13", "are expected"),
            ("\"nonce\":\"", "\"nonce\":\"AAAA", "24 bytes"),
            ("\"kdf\"", "\"fdk\"", "missing field `kdf`"),
        ] {
            let error = opened(&changed(from, to), Some("test")).expect_err(to).to_string();
            assert!(error.contains(expected), "{to}: {error}");
        }
        let error = opened(&changed("\"salt\":\"", "\"salt\":\"!"), Some("test"));
        assert_eq!(error.expect_err("no key"), InvalidKey::Pem);
    }
}
