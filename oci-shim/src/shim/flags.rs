//! The command line by which containerd calls a shim: flags as Go's `flag` package reads them, and an
//! action.

use std::ffi::OsString;

/// What a shim is called to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Start a server, or find the one of the pod, and say where it is.
    Start,
    /// Clear what a server left that is no more.
    Delete,
    /// Be the server.
    #[default]
    Serve,
    /// Say the version.
    Version,
    /// Say what this runtime can do.
    Info,
}

/// The flags of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// What to do.
    pub action: Action,
    /// The namespace of containerd's that the container is in.
    pub namespace: String,
    /// The container.
    pub id: String,
    /// Where containerd answers to clients.
    pub address: String,
    /// The program that publishes events.
    pub publish_binary: String,
    /// The bundle, where it is not the working directory.
    pub bundle: String,
    /// Where the server is to listen.
    pub socket: String,
    /// Whether everything is logged.
    pub debug: bool,
}

/// A call that is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCall {
    /// A flag that there is not.
    #[error("there is no flag `{0}`")]
    Unknown(String),
    /// A flag without its value.
    #[error("`{0}` needs a value")]
    NoValue(String),
    /// A flag that is on or off and says something else.
    #[error("`{0}` is on or off: `true` or `false`")]
    NoSwitch(String),
    /// An action that there is not.
    #[error("there is no action `{0}`; there are start and delete")]
    Action(String),
    /// An argument that is no text.
    #[error("an argument is no UTF-8: {0}")]
    NotText(String),
}

impl Flags {
    /// Reads the arguments of a call, without the program's name.
    ///
    /// # Errors
    ///
    /// Fails where they are none that containerd makes.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, InvalidCall> {
        let mut flags = Self::default();
        let text = |arg: OsString| {
            arg.into_string().map_err(|arg| InvalidCall::NotText(arg.display().to_string()))
        };
        let mut args = args.into_iter().map(text);
        while let Some(arg) = args.next().transpose()? {
            let Some(flag) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else {
                // Go reads no flags behind the first word that is none.
                flags.act(&arg)?;
                break;
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            let is_on = || match value.as_deref() {
                None | Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(true),
                Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(false),
                Some(_) => Err(InvalidCall::NoSwitch(arg.clone())),
            };
            let place = match name {
                "debug" => {
                    flags.debug = is_on()?;
                    continue;
                }
                "v" | "version" => {
                    if is_on()? {
                        flags.action = Action::Version;
                    }
                    continue;
                }
                "info" => {
                    if is_on()? {
                        flags.action = Action::Info;
                    }
                    continue;
                }
                "namespace" => &mut flags.namespace,
                "id" => &mut flags.id,
                "address" => &mut flags.address,
                "publish-binary" => &mut flags.publish_binary,
                "bundle" => &mut flags.bundle,
                "socket" => &mut flags.socket,
                _ => return Err(InvalidCall::Unknown(arg)),
            };
            *place = match value {
                Some(value) => value,
                None => args.next().transpose()?.ok_or(InvalidCall::NoValue(arg))?,
            };
        }
        Ok(flags)
    }

    fn act(&mut self, action: &str) -> Result<(), InvalidCall> {
        // What was asked by a flag comes first, as in containerd's own shims.
        if self.action != Action::Serve {
            return Ok(());
        }
        self.action = match action {
            "start" => Action::Start,
            "delete" => Action::Delete,
            other => return Err(InvalidCall::Action(other.to_owned())),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Flags, InvalidCall> {
        Flags::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn calls_of_containerd_are_read_as_go_reads_them() {
        let line = "-namespace k8s.io -address /run/c.sock -publish-binary /usr/bin/containerd -id web \
                    -bundle=/b --debug start";
        let flags = parse(line).unwrap();
        let expected = Flags {
            action: Action::Start,
            namespace: "k8s.io".to_owned(),
            id: "web".to_owned(),
            address: "/run/c.sock".to_owned(),
            publish_binary: "/usr/bin/containerd".to_owned(),
            bundle: "/b".to_owned(),
            socket: String::new(),
            debug: true,
        };
        assert_eq!(flags, expected);
        assert_eq!(parse("-v").unwrap().action, Action::Version);
        assert_eq!(parse("-info").unwrap().action, Action::Info);
        assert_eq!(parse("-debug=false -id a delete").unwrap().action, Action::Delete);
        assert_eq!(parse("-id a").unwrap().action, Action::Serve);
        // A value may look like a flag.
        assert_eq!(parse("-id -v start").unwrap().id, "-v");
    }

    #[test]
    fn calls_that_are_none_say_what_of_them_is_not() {
        assert_eq!(parse("-frob 1 start"), Err(InvalidCall::Unknown("-frob".to_owned())));
        assert_eq!(parse("-id"), Err(InvalidCall::NoValue("-id".to_owned())));
        assert_eq!(parse("-debug=often"), Err(InvalidCall::NoSwitch("-debug=often".to_owned())));
        assert_eq!(parse("-id a stop"), Err(InvalidCall::Action("stop".to_owned())));
    }
}
