//! Where the server of a container is: one for each pod.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::path::PathBuf;

use sha2::Digest as _;
use sha2::Sha256;

use crate::platform::socket::PATH_SIZE_MAX;

/// Where containerd's own shims have their sockets.
const FOLDER: &str = "/run/containerd/s";

/// Annotations that name the group that containers are in together, the first of them first.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/// What is in front of the path of a socket.
const SCHEME: &str = "unix://";

/// The group of a container: the one that its annotations name, or itself.
pub(super) fn group<'a>(annotations: &'a HashMap<String, String>, id: &'a str) -> &'a str {
    let named = GROUPS.iter().find_map(|name| annotations.get(*name));
    named.map(String::as_str).filter(|group| !group.is_empty()).unwrap_or(id)
}

/// The path of the socket for a group, named as containerd's own shims name theirs.
pub(super) fn socket(
    folder: Option<&str>,
    address: &str,
    namespace: &str,
    group: &str,
) -> Result<PathBuf, String> {
    // Joined as paths are: the address has slashes, and perhaps one at its end.
    let named = Path::new(address).join(namespace).join(group);
    let digest = Sha256::digest(named.as_os_str().as_encoded_bytes());
    let mut name = String::new();
    for byte in digest {
        let _infallible = write!(name, "{byte:02x}");
    }
    let path = Path::new(folder.unwrap_or(FOLDER)).join(name);
    if PATH_SIZE_MAX < path.as_os_str().len() {
        return Err(format!(
            "`{}` is longer than the {PATH_SIZE_MAX} bytes that a socket's path may have; give \
             containerd a shorter `socket_dir`",
            path.display()
        ));
    }
    Ok(path)
}

/// A path as an address.
pub(super) fn of_path(path: &Path) -> String {
    format!("{SCHEME}{}", path.display())
}

/// The path that an address names.
pub(super) fn path_of(address: &str) -> &Path {
    Path::new(address.strip_prefix(SCHEME).unwrap_or(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_named_as_containerd_names_those_of_its_own_shims() {
        let path = socket(None, "/run/containerd/containerd.sock", "default", "123").unwrap();
        let name = "0ddfbd72d02b3551e75f3a0ed90b9965b533401be618f43a568bc522764e0ad0";
        assert_eq!(path, Path::new("/run/containerd/s").join(name));
        assert_eq!(path_of(&of_path(&path)), path);
        let path = socket(Some("/tmp/s"), "/run/containerd/containerd.sock", "default", "123");
        assert_eq!(path.unwrap(), Path::new("/tmp/s").join(name));
        let long = format!("/{}", "x".repeat(60));
        let error = socket(Some(&long), "/run/c", "default", "123").unwrap_err();
        assert!(error.contains("socket_dir"), "{error}");
    }

    #[test]
    fn containers_of_a_pod_have_one_server_and_others_have_their_own() {
        let pod = HashMap::from([(GROUPS[1].to_owned(), "pod".to_owned())]);
        assert_eq!(group(&pod, "web"), "pod");
        let mut both = pod.clone();
        both.insert(GROUPS[0].to_owned(), "group".to_owned());
        assert_eq!(group(&both, "web"), "group");
        assert_eq!(group(&HashMap::new(), "web"), "web");
        assert_eq!(group(&HashMap::from([(GROUPS[0].to_owned(), String::new())]), "web"), "web");
    }

    #[test]
    fn the_same_id_in_two_namespaces_is_two_servers() {
        let of = |namespace| socket(None, "/run/c.sock", namespace, "web").unwrap();
        assert_ne!(of("a"), of("b"));
    }
}
