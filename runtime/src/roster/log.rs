//! What a sandbox wrote: lines with their time and stream, in files of bounded size.
//!
//! The form is that of Kubernetes' logs (the CRI logging format): `TIME STREAM TAG CONTENT`, where
//! the tag is `F` for the end of a line and `P` for a part of one. What comes is written at once, so
//! that a keeper that is killed has lost nothing.

use std::fs;
use std::fs::File;
use std::io;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;

use crate::platform::files;

use super::entry::LogPlan;

/// The name of the file that is written; older ones have a number behind it.
const NAME: &str = "log";

/// The longest line that is read, with all in front of its content. Parts are written shorter.
const LINE_MAX: u64 = 64 << 10;

/// The longest content of a part.
const CONTENT_MAX: usize = 16 << 10;

/// Where a log is written.
#[derive(Debug)]
pub(crate) struct Log {
    folder: PathBuf,
    plan: LogPlan,
    file: Option<File>,
    size: u64,
    /// Bytes that could not be written.
    lost: u64,
}

impl Log {
    /// The log in this folder, which goes on where it ended.
    pub(crate) fn open(folder: &Path, plan: LogPlan) -> Self {
        Self { folder: folder.to_owned(), plan, file: None, size: 0, lost: 0 }
    }

    /// Bytes that could not be written so far.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// Writes what came by a stream. What cannot be written is lost and counted: a guest does not
    /// stand still because a disk is full.
    pub(crate) fn write(&mut self, is_error: bool, mut bytes: &[u8]) {
        let now = humantime::format_rfc3339_nanos(SystemTime::now());
        let stream = if is_error { "stderr" } else { "stdout" };
        // The time, the stream and the tag, with what is between them, and the end of the line.
        let frame = now.to_string().len() + stream.len() + 5;
        let size_max = usize::try_from(self.plan.size_max).unwrap_or(usize::MAX);
        let part_max = size_max.saturating_sub(frame).clamp(1, CONTENT_MAX);
        let mut lines = Vec::new();
        let mut content = 0;
        while !bytes.is_empty() {
            let end = bytes.iter().take(part_max).position(|byte| *byte == b'\n');
            let (part, tag, rest) = if let Some(end) = end {
                (&bytes[..end], 'F', &bytes[end + 1..])
            } else {
                let (part, rest) = bytes.split_at(bytes.len().min(part_max));
                (part, 'P', rest)
            };
            let with_this = self.size + (lines.len() + frame + part.len()) as u64;
            if self.plan.size_max < with_this {
                self.append(&mut lines, &mut content);
            }
            // Writing to memory does not fail.
            let _written = write!(lines, "{now} {stream} {tag} ");
            lines.extend_from_slice(part);
            lines.push(b'\n');
            content += part.len() as u64;
            bytes = rest;
        }
        self.append(&mut lines, &mut content);
    }

    /// Writes lines, or counts their content as lost.
    fn append(&mut self, lines: &mut Vec<u8>, content: &mut u64) {
        if !lines.is_empty() && self.try_append(lines).is_err() {
            self.lost += *content;
        }
        lines.clear();
        *content = 0;
    }

    fn try_append(&mut self, lines: &[u8]) -> io::Result<()> {
        let length = lines.len() as u64;
        if 0 < self.size && self.plan.size_max < self.size + length {
            self.rotate()?;
        }
        if self.file.is_none() {
            let file = files::open_log(&self.folder.join(NAME))?;
            self.size = file.metadata()?.len();
            self.file = Some(file);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        if let Err(error) = file.write_all(lines) {
            // Half a line would be taken for the beginning of the next one.
            file.set_len(self.size)?;
            return Err(error);
        }
        self.size += length;
        Ok(())
    }

    /// Gives up what is oldest of it, or else what came last, for something that must be written on a
    /// disk that is full.
    pub(crate) fn make_room(&mut self) {
        /// How much of a file is cut off.
        const CUT: u64 = 32 << 10;
        let older = (1..self.plan.files_max).map(|number| path_of(&self.folder, number));
        if let Some(oldest) = older.take_while(|path| path.exists()).last() {
            let _still_full = fs::remove_file(oldest);
        } else if let Some(file) = &self.file {
            let rest = self.size.saturating_sub(CUT);
            if file.set_len(rest).is_ok() {
                self.lost += self.size - rest;
                self.size = rest;
            }
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        let path = |number: u32| path_of(&self.folder, number);
        let last = self.plan.files_max.max(1) - 1;
        for number in (0..last).rev() {
            match fs::rename(path(number), path(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if last == 0 {
            fs::remove_file(path(0))?;
        }
        self.size = 0;
        Ok(())
    }
}

fn path_of(folder: &Path, number: u32) -> PathBuf {
    match number {
        0 => folder.join(NAME),
        number => folder.join(format!("{NAME}.{number}")),
    }
}

/// A line that a sandbox wrote, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// When it came.
    pub time: SystemTime,
    /// Whether it came by standard error.
    pub is_error: bool,
    /// What it says, as the guest wrote it, without the end of the line.
    pub content: Vec<u8>,
    /// Whether the line ends here.
    pub is_whole: bool,
}

impl Line {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut words = bytes.splitn(4, |byte| *byte == b' ');
        let mut word = || words.next();
        let (time, stream, tag, content) = (word()?, word()?, word()?, word()?);
        let time = humantime::parse_rfc3339(std::str::from_utf8(time).ok()?).ok()?;
        Some(Self {
            time,
            is_error: match stream {
                b"stdout" => false,
                b"stderr" => true,
                _ => return None,
            },
            content: content.to_vec(),
            is_whole: match tag {
                b"F" => true,
                b"P" => false,
                _ => return None,
            },
        })
    }
}

/// Which lines of a log are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Only the last so many.
    pub last: Option<usize>,
    /// Only what came from then on.
    pub since: Option<SystemTime>,
    /// Only what came before then.
    pub until: Option<SystemTime>,
}

/// A log, as it is read.
#[derive(Debug)]
pub(crate) struct Logs {
    folder: PathBuf,
    /// The file that is read, and what came of a line that has not ended.
    reader: Option<BufReader<File>>,
    pending: Vec<u8>,
    /// Older files that come first, the oldest last.
    older: Vec<BufReader<File>>,
}

impl Logs {
    /// Reads the log in this folder from its beginning.
    pub(crate) fn open(folder: &Path) -> Self {
        let mut logs = Self {
            folder: folder.to_owned(),
            reader: None,
            pending: Vec::new(),
            older: Vec::new(),
        };
        // The newest first: what is rotated meanwhile is read twice at the worst, and not missed.
        for number in 0.. {
            let Ok(file) = files::open_own(&path_of(folder, number)) else { break };
            logs.older.push(BufReader::new(file));
        }
        logs
    }

    /// The next line; nothing where there is none yet.
    pub(crate) fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            if self.reader.is_none() {
                self.reader = self.older.pop();
            }
            let Some(reader) = &mut self.reader else {
                // It may have been made since.
                let Ok(file) = files::open_own(&path_of(&self.folder, 0)) else { return Ok(None) };
                self.reader = Some(BufReader::new(file));
                continue;
            };
            let room = LINE_MAX.saturating_sub(self.pending.len() as u64);
            let count = reader.by_ref().take(room).read_until(b'\n', &mut self.pending)?;
            if self.pending.last() == Some(&b'\n') {
                self.pending.pop();
                let line = Line::parse(&self.pending);
                self.pending.clear();
                match line {
                    Some(line) => return Ok(Some(line)),
                    // Not of ours.
                    None => continue,
                }
            }
            if room == 0 {
                self.pending.clear();
                continue;
            }
            if count == 0 {
                if !self.older.is_empty() {
                    self.reader = None;
                    self.pending.clear();
                } else if files::is_at(reader.get_ref(), &path_of(&self.folder, 0)) {
                    return Ok(None);
                } else if reader.fill_buf()?.is_empty() {
                    // It was rotated away, and all of it is read; between may be others.
                    self.reopen();
                }
            }
        }
    }

    /// Goes on with what came after the file that was read.
    fn reopen(&mut self) {
        let read = self.reader.take();
        self.pending.clear();
        for number in 0.. {
            let path = path_of(&self.folder, number);
            let Ok(file) = files::open_own(&path) else { break };
            if read.as_ref().is_some_and(|read| files::is_at(read.get_ref(), &path)) {
                break;
            }
            self.older.push(BufReader::new(file));
        }
    }

    /// The lines that are asked for, as far as there are any by now.
    pub(crate) fn lines(&mut self, query: &LogQuery) -> io::Result<Vec<Line>> {
        let mut found = std::collections::VecDeque::new();
        let mut whole = 0_usize;
        while let Some(line) = self.next()? {
            if query.since.is_some_and(|since| line.time < since)
                || query.until.is_some_and(|until| until <= line.time)
            {
                continue;
            }
            whole += usize::from(line.is_whole);
            found.push_back(line);
            // A line that has not ended is one too.
            let open = usize::from(found.back().is_some_and(|line: &Line| !line.is_whole));
            while query.last.is_some_and(|last| last < whole + open) {
                let Some(first) = found.pop_front() else { break };
                whole -= usize::from(first.is_whole);
            }
        }
        Ok(found.into())
    }
}

/// How often a log is looked at by those who follow it.
pub(crate) const FOLLOWING: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    fn all(folder: &Path, query: &LogQuery) -> Vec<(String, bool, bool)> {
        let lines = Logs::open(folder).lines(query).expect("it can be read");
        let told = |line: Line| {
            let content = String::from_utf8(line.content).expect("text");
            (content, line.is_error, line.is_whole)
        };
        lines.into_iter().map(told).collect()
    }

    #[test]
    fn what_is_written_is_read_with_its_stream_and_where_lines_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut log = Log::open(dir.path(), LogPlan::default());
        log.write(false, b"one\ntwo\npart");
        log.write(true, b"oops\n");
        log.write(false, b" of three\n\n");
        let expected = [
            ("one", false, true),
            ("two", false, true),
            ("part", false, false),
            ("oops", true, true),
            (" of three", false, true),
            ("", false, true),
        ]
        .map(|(text, is_error, is_whole)| (text.to_owned(), is_error, is_whole));
        assert_eq!(all(dir.path(), &LogQuery::default()), expected);
        let last = LogQuery { last: Some(2), ..LogQuery::default() };
        assert_eq!(all(dir.path(), &last), expected[4..]);
        let later = SystemTime::now() + Duration::from_hours(1);
        let since = LogQuery { since: Some(later), ..LogQuery::default() };
        assert_eq!(all(dir.path(), &since), []);
        let until = LogQuery { until: Some(later), ..LogQuery::default() };
        assert_eq!(all(dir.path(), &until).len(), 6);
    }

    #[test]
    fn a_log_is_never_larger_than_its_plan_and_the_newest_is_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut log = Log::open(dir.path(), LogPlan::new(1000, 3));
        let mut follower = Logs::open(dir.path());
        let mut followed = Vec::new();
        for number in 0..100 {
            log.write(false, format!("line {number}\n").as_bytes());
            while let Some(line) = follower.next().expect("it can be read") {
                followed.push(line);
            }
        }
        let sizes = fs::read_dir(dir.path()).expect("a directory");
        let sizes: Vec<u64> =
            sizes.map(|e| e.expect("an entry").metadata().expect("it").len()).collect();
        assert_eq!(sizes.len(), 3);
        assert!(sizes.iter().all(|size| *size <= 1000), "{sizes:?}");
        let lines = all(dir.path(), &LogQuery::default());
        assert_eq!(lines.last().map(|(text, ..)| text.as_str()), Some("line 99"));
        assert!(40 < lines.len(), "{}", lines.len());
        // Where a system cannot tell one file from another, nobody follows: there are no keepers.
        if cfg!(all(unix, not(aril_portable))) {
            assert_eq!(followed.len(), 100, "who follows misses nothing");
        }
    }

    #[test]
    fn many_short_lines_that_come_at_once_and_long_ones_stay_within_it_too() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut log = Log::open(dir.path(), LogPlan::new(LogPlan::SIZE_MIN, 2));
        log.write(false, &[b'\n'; 5000]);
        log.write(true, &vec![b'x'; 50_000]);
        log.write(false, b"the last\n");
        for entry in fs::read_dir(dir.path()).expect("a directory") {
            let size = entry.expect("an entry").metadata().expect("it").len();
            assert!(size <= LogPlan::SIZE_MIN, "{size}");
        }
        let lines = all(dir.path(), &LogQuery::default());
        assert_eq!(lines.last().map(|(text, ..)| text.as_str()), Some("the last"));
        assert_eq!(log.lost(), 0);
    }

    #[test]
    fn what_is_no_line_of_a_log_is_passed_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let long = "x".repeat(200_000);
        let text = format!("garbage\n{long}\n2026-01-01T00:00:00Z stdout F kept\n\0\n2026");
        fs::write(dir.path().join(NAME), text).expect("it can be written");
        assert_eq!(all(dir.path(), &LogQuery::default()), [("kept".to_owned(), false, true)]);
    }
}
