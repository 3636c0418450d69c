//! Proxies, which are not supported: a user who set one is told so, and not left to guess.

use std::net::IpAddr;

/// What others take for a proxy, in the order in which they look for it.
const VARIABLES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// The variable that names a proxy for a registry, `host` or `host:port`, if one does.
pub(crate) fn ignored(registry: &str) -> Option<&'static str> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let set = VARIABLES.into_iter().find(|name| variable(name).is_some())?;
    let without = variable("NO_PROXY").or_else(|| variable("no_proxy")).unwrap_or_default();
    (!is_without(registry, &without)).then_some(set)
}

/// Whether a registry is spoken to without a proxy, by what `NO_PROXY` says. Like others, nobody
/// is asked for the way to this host itself.
fn is_without(registry: &str, without: &str) -> bool {
    let host = match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => registry.split(':').next().unwrap_or_default(),
    };
    let is_own = host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    let covers = |entry: &str| {
        let name = entry.trim().trim_start_matches('*').trim_start_matches('.');
        let name = name.split(':').next().unwrap_or_default();
        let rest = host.strip_suffix(name);
        entry.trim() == "*"
            || !name.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    host == "localhost" || is_own || without.split(',').any(covers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_no_proxy_is_known_by_its_name() {
        for (registry, without, expected) in [
            ("registry.example", "", false),
            ("registry.example", "*", true),
            ("registry.example:5000", "other.example, registry.example", true),
            ("registry.example", ".example", true),
            ("registry.example", "*.example", true),
            ("registry.example", "ry.example", false),
            ("registry.example", ", ,", false),
            ("localhost:5000", "", true),
            ("127.0.0.1:5000", "", true),
            ("[::1]:5000", "", true),
            ("[fd00::1]:5000", "", false),
        ] {
            assert_eq!(is_without(registry, without), expected, "{registry}, `{without}`");
        }
    }
}
