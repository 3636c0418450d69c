//! The verb `exec`: a program beside that of a container. The process of the verb stays until that has
//! ended, and ends with its code; detached, it is another one that is left.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::bundle;
use crate::platform::inherit;
use crate::platform::processes;
use crate::platform::talk::Call;

use super::create;
use super::failure::Failure;
use super::folder::Folder;
use super::keeper::open_terminal;
use super::keeper::thrice;
use super::message::Answer;
use super::message::Ask;
use super::message::SIZE_MAX;
use super::verbs;
use super::words::Exec;
use super::words::Words;

/// The code of a program that could not be run, as container engines have it.
const NOT_RUN: u8 = 126;

/// Runs a program beside that of a container.
pub(super) fn exec(words: &Words, exec: &Exec) -> Result<u8, Failure> {
    if exec.preserve_fds != 0 {
        return Err(Failure::new(
            "`--preserve-fds`: no guest takes descriptors of the host; leave it out",
        ));
    }
    if exec.detach {
        return leave(words, exec).map(|()| 0);
    }
    let mut tell = exec
        .tell
        .map(inherit::tell)
        .transpose()
        .map_err(|error| Failure::of("cannot tell who started this", &error))?;
    let began = begin(words, exec);
    if let Some(tell) = &mut tell {
        let line = match &began {
            Ok(_) => serde_json::json!({ "pid": processes::own() }),
            Err(failure) => serde_json::json!({ "failed": failure.to_string() }),
        };
        // Who started this may have been killed.
        let _unheard = tell.write_all(format!("{line}\n").as_bytes());
        if began.is_err() {
            return Ok(NOT_RUN);
        }
    }
    drop(tell);
    let call = began?;
    if let (Some(path), None) = (&exec.pid_file, exec.tell) {
        create::write_pid(path, processes::own())?;
    }
    let ended = call.receive(SIZE_MAX);
    match ended.map_err(|error| Failure::of("cannot hear how it ended", &error))? {
        Some(bytes) => match verbs::answered(&bytes)? {
            Answer::Ended { code } => Ok(code),
            _ => Err(verbs::nonsense()),
        },
        // It ended with the container.
        None => Ok(KILLED),
    }
}

/// The code of a program whose container's keeper is gone.
const KILLED: u8 = 137;

/// Leaves a process that runs it, and says its number.
fn leave(words: &Words, exec: &Exec) -> Result<(), Failure> {
    let mut args = create::globals(words);
    args.push("exec".into());
    let mut option = |name: &str, value: OsString| args.extend([name.into(), value]);
    if let Some(path) = &exec.process {
        option("--process", create::absolute(path)?.into());
    }
    if let Some(path) = &exec.console_socket {
        option("--console-socket", create::absolute(path)?.into());
    }
    if let Some(path) = &exec.cwd {
        option("--cwd", path.into());
    }
    for variable in &exec.env {
        option("--env", variable.into());
    }
    if exec.tty {
        args.push("--tty".into());
    }
    // The number to tell at comes last, and before what is the program's own.
    let behind = [vec![exec.id.clone()], exec.command.clone()].concat();
    let (_left, pid) = create::spawn_with(args, &behind)?;
    match &exec.pid_file {
        Some(path) => create::write_pid(path, pid),
        None => Ok(()),
    }
}

/// Has the keeper run it: what is heard next is how it ended.
fn begin(words: &Words, exec: &Exec) -> Result<Call, Failure> {
    let folder = Folder::of(words, &exec.id)?;
    let known = folder.known()?;
    let process = process(exec, &known.bundle)?;
    let terminal = process.get("terminal").and_then(Value::as_bool).unwrap_or(false);
    let streams: [File; 3] = match (terminal, &exec.console_socket) {
        (false, None) => inherit::streams()
            .map_err(|error| Failure::of("a standard stream is closed", &error))?,
        (true, Some(socket)) => {
            let size = process.get("consoleSize");
            let side = |name| size.and_then(|size| u16::try_from(size.get(name)?.as_u64()?).ok());
            let size = side("height").zip(side("width"));
            thrice(open_terminal(size, socket)?)?
        }
        // The terminal of whoever calls.
        (true, None) => inherit::streams()
            .map_err(|error| Failure::of("a standard stream is closed", &error))?,
        (false, Some(_)) => {
            return Err(Failure::new("`--console-socket` is given, and there is no terminal"));
        }
    };
    let failed = |error: std::io::Error| verbs::unheard(&exec.id, &error);
    let call = Call::to(&folder.socket()).map_err(failed)?;
    let question = verbs::question(&Ask::Exec { process: process.to_string() })?;
    let [stdin, stdout, stderr] = &streams;
    call.send(&question, &[stdin, stdout, stderr]).map_err(failed)?;
    match call.receive(SIZE_MAX).map_err(failed)? {
        Some(bytes) => match verbs::answered(&bytes) {
            Ok(Answer::Began) => Ok(call),
            Ok(_) => Err(verbs::nonsense()),
            Err(failure) => Err(Failure::with_code(failure.to_string(), NOT_RUN)),
        },
        None => Err(Failure::new(format!("container not running: `{}` has stopped", exec.id))),
    }
}

/// What is run: what a file says, or the container's own process with another command.
fn process(exec: &Exec, bundle: &Path) -> Result<Value, Failure> {
    if let Some(path) = &exec.process {
        let text = verbs::read_text(path)?;
        return serde_json::from_str(&text)
            .map_err(|error| Failure::of(format!("`{}` is no process", path.display()), &error));
    }
    if exec.command.is_empty() {
        return Err(Failure::new(
            "what is to be run is missing: name a program, or use `--process`",
        ));
    }
    let spec = bundle::read_spec(&bundle.join(bundle::CONFIG));
    let spec = spec.map_err(|error| Failure::new(super::failure::whole(&error)))?;
    let process = serde_json::to_value(spec.process());
    let mut process =
        process.map_err(|error| Failure::of("the container's own process", &error))?;
    process["args"] = exec.command.clone().into();
    process["terminal"] = exec.tty.into();
    if let Some(cwd) = &exec.cwd {
        process["cwd"] = cwd.as_str().into();
    }
    if let Some(env) = process["env"].as_array_mut() {
        env.extend(exec.env.iter().map(|variable| Value::from(variable.as_str())));
    } else {
        process["env"] = exec.env.clone().into();
    }
    Ok(process)
}
