//! Where failures are written: standard error, and the file that the caller reads.

use std::io::Write as _;
use std::time::SystemTime;

use super::failure::Failure;
use super::words::Format;
use super::words::Words;

/// The longest text of a line.
const TEXT_MAX: usize = 4096;

/// Tells why a command failed.
pub(super) fn failed(words: &Words, failure: &Failure) {
    write(words, "error", &failure.to_string());
}

/// Tells what went wrong beside a command that is done all the same.
pub(super) fn warned(words: &Words, text: &str) {
    write(words, "warning", text);
}

fn write(words: &Words, level: &str, text: &str) {
    let text = aril::printable(text);
    // Who is not there to read it is told by the code.
    let _unread = writeln!(std::io::stderr(), "aril-oci: {text}");
    let Some(path) = &words.log else { return };
    let short: String = text.chars().take(TEXT_MAX).collect();
    let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let line = match words.log_format {
        Format::Json => {
            serde_json::json!({ "level": level, "msg": short, "time": time }).to_string()
        }
        Format::Text => {
            let quoted = serde_json::Value::from(short);
            format!("time=\"{time}\" level={level} msg={quoted}")
        }
    };
    let opened = std::fs::File::options().append(true).create(true).open(path);
    let written = opened.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    if let Err(error) = written {
        let _unread =
            writeln!(std::io::stderr(), "aril-oci: cannot log to `{}`: {error}", path.display());
    }
}
