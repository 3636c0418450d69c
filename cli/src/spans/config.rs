//! Where spans go, as OpenTelemetry's variables say.

use std::time::Duration;

use hyper::Uri;

/// Where spans go, and what is said along with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) endpoint: Uri,
    pub(super) headers: Vec<(String, String)>,
    pub(super) time_max: Duration,
    /// What they are of: the service's name, and whatever else was said.
    pub(super) resource: Vec<(String, String)>,
    /// The span of whoever started this process.
    pub(super) around: Option<Around>,
}

/// A span of another process: its trace, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Around {
    pub(super) trace: u128,
    pub(super) span: u64,
}

impl Config {
    /// What the environment says; nothing where it names no collector.
    pub(super) fn of_environment(
        get: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, String> {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        // The one for traces wins over the one for everything.
        let of_traces = |name: &str| {
            let own = get(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"));
            own.or_else(|| get(&format!("OTEL_EXPORTER_OTLP_{name}")))
        };
        let is_off = get("OTEL_SDK_DISABLED").is_some_and(|off| off.eq_ignore_ascii_case("true"))
            || get("OTEL_TRACES_EXPORTER").is_some_and(|exporter| exporter == "none");
        let own = get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        let base = get("OTEL_EXPORTER_OTLP_ENDPOINT");
        let Some(endpoint) = own.or_else(|| {
            let base = base?;
            Some(format!("{}/v1/traces", base.trim_end_matches('/')))
        }) else {
            return Ok(None);
        };
        if is_off {
            return Ok(None);
        }
        let endpoint: Uri =
            endpoint.parse().map_err(|error| format!("`{endpoint}` is no address: {error}"))?;
        if endpoint.scheme_str() != Some("http") || endpoint.host().is_none() {
            return Err(format!(
                "`{endpoint}` is not of the form `http://HOST:PORT`: name a collector that is \
                 spoken to without encryption, on this host, say"
            ));
        }
        if let Some(protocol) = of_traces("PROTOCOL").filter(|protocol| protocol == "grpc") {
            return Err(format!("the protocol `{protocol}` is not spoken: there is `http/json`"));
        }
        let time = of_traces("TIMEOUT").and_then(|time| time.parse().ok());
        let mut resource = pairs(&get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default());
        if let Some(name) = get("OTEL_SERVICE_NAME") {
            resource.retain(|(key, _)| key != "service.name");
            resource.push(("service.name".to_owned(), name));
        }
        if !resource.iter().any(|(key, _)| key == "service.name") {
            resource.push(("service.name".to_owned(), "aril".to_owned()));
        }
        Ok(Some(Self {
            endpoint,
            headers: pairs(&of_traces("HEADERS").unwrap_or_default()),
            time_max: time.map_or(Duration::MAX, Duration::from_millis),
            resource,
            around: get("TRACEPARENT").and_then(|text| around(&text)),
        }))
    }
}

/// `name=value` with commas between, where `%41` is `A`. What is none of them is passed over, as
/// OpenTelemetry has it.
fn pairs(text: &str) -> Vec<(String, String)> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        Some((name.trim().to_owned(), decoded(value.trim())?))
    };
    text.split(',').filter_map(pair).filter(|(name, _)| !name.is_empty()).collect()
}

fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, after @ ..] = rest {
        rest = match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                bytes.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
                after
            }
            (byte, after) => {
                bytes.push(*byte);
                after
            }
        };
    }
    String::from_utf8(bytes).ok()
}

/// A span as the W3C has it: `00-TRACE-SPAN-FLAGS`.
fn around(text: &str) -> Option<Around> {
    let [version, trace, span, flags] = text.trim().split('-').collect::<Vec<_>>()[..] else {
        return None;
    };
    let is_right =
        [(version, 2), (trace, 32), (span, 16), (flags, 2)].iter().all(|(text, size)| {
            text.len() == *size
                && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        });
    if !is_right || version == "ff" {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
    let span = u64::from_str_radix(span, 16).ok().filter(|span| *span != 0)?;
    Some(Around { trace, span })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<Config>, String> {
        let get = |name: &str| {
            let found = variables.iter().find(|(own, _)| *own == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Config::of_environment(get)
    }

    #[test]
    fn without_a_collector_or_with_the_sdk_off_nothing_is_sent() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1");
        for variables in [
            &[][..],
            &[("OTEL_SERVICE_NAME", "x")],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
            &[base, ("OTEL_SDK_DISABLED", "true")],
            &[base, ("OTEL_TRACES_EXPORTER", "none")],
        ] {
            assert_eq!(of(variables), Ok(None), "{variables:?}");
        }
    }

    #[test]
    fn the_address_is_the_one_of_traces_or_the_one_of_all_with_the_path_of_traces() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1/x/");
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://b:2/y");
        assert_eq!(of(&[base]).unwrap().unwrap().endpoint, "http://a:1/x/v1/traces");
        assert_eq!(of(&[base, own]).unwrap().unwrap().endpoint, "http://b:2/y");
        for wrong in ["https://a:1", "a", "/v1", "http://", "unix:/run/x", "http://a b"] {
            assert!(of(&[(own.0, wrong)]).is_err(), "{wrong}");
        }
        assert!(of(&[base, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).is_err());
    }

    #[test]
    fn names_and_values_are_decoded() {
        let config = of(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=b%20c, d = e=f,,=g,h,i=%zz"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=no,k=v"),
            ("OTEL_SERVICE_NAME", "yes"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "250"),
        ]);
        let config = config.unwrap().unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(config.headers, [pair("a", "b c"), pair("d", "e=f")]);
        assert_eq!(config.resource, [pair("k", "v"), pair("service.name", "yes")]);
        assert_eq!(config.time_max, Duration::from_millis(250));
    }

    #[test]
    fn a_span_around_is_taken_as_the_standard_writes_it_and_in_no_other_form() {
        let right = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let expected = Around {
            trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
            span: 0xb7ad_6b71_6920_3331,
        };
        assert_eq!(around(right), Some(expected));
        for wrong in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(around(wrong), None, "{wrong}");
        }
    }
}
