//! The members of an archive, as they are written in it.
//!
//! Where readers of archives are known to see different things in the same bytes, the archive is
//! refused: who looked at it with another reader saw something else than what would be unpacked.
//! So this reads blocks itself and takes from the `tar` crate what a header's fields say; that
//! crate's own iterator reads names of any length into memory, and takes what it does not know for
//! a file.

use std::io;
use std::io::BufRead;

use tar::EntryType;
use tar::Header;

use crate::platform::Stamp;

use super::bounds::EXTENSIONS_MAX;
use super::bounds::PATH_MAX;

const BLOCK: usize = 512;

/// The smallest size that the header of `ustar` has no room for.
const SIZE_EXTENDED_MIN: u64 = 8 << 30;

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    File,
    HardLink,
    SymbolicLink,
    Directory,
    /// What no image of ours has, and what it is.
    Foreign(&'static str),
}

/// A member of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: Vec<u8>,
    pub(super) form: Form,
    /// What a link leads to.
    pub(super) target: Vec<u8>,
    pub(super) mode: u32,
    pub(super) modified: Stamp,
}

/// Why what follows is not a member.
#[derive(Debug, thiserror::Error)]
pub(super) enum Invalid {
    #[error("it ends in the middle")]
    Ended,
    #[error("the checksum of a header is wrong")]
    Checksum,
    #[error("the {0} in a header is not one")]
    Field(&'static str),
    #[error("what is told of a member beside its header has {0} bytes, more than are read")]
    ExtensionSize(u64),
    #[error("what is told of a member beside its header is malformed")]
    Extension,
    #[error("{0} are told for one member")]
    Twice(&'static str),
    #[error("it tells of a member that does not follow")]
    Alone,
    #[error("it tells `{0}` of all members that follow, which readers take for different things")]
    Global(&'static str),
    #[error("a member has {header} bytes by its header and {extension} by what is told beside it")]
    Sizes { header: u64, extension: u64 },
    #[error("a member that has no content has {0} bytes of it")]
    Content(u64),
    #[error("what looks like its end is followed by more")]
    GoesOn,
    #[error("it cannot be read")]
    Read(#[from] io::Error),
}

/// Reads the members of an archive one after the other.
#[derive(Debug)]
pub(super) struct Members<R> {
    from: R,
    at: u64,
    /// What is left of the content of the last member, and then of its last block.
    content: u64,
    padding: u64,
}

/// What is told of a member in front of its header.
#[derive(Debug, Default)]
struct Told {
    long_name: Option<Vec<u8>>,
    long_target: Option<Vec<u8>>,
    extended: Option<Extended>,
}

/// What POSIX's extended header tells.
#[derive(Debug, Default)]
struct Extended {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    modified: Option<Stamp>,
    sparse: bool,
}

impl<R: BufRead> Members<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, at: 0, content: 0, padding: 0 }
    }

    /// How many bytes were read.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// The next member; nothing at the end.
    pub(super) fn next(&mut self) -> Result<Option<Member>, Invalid> {
        let mut told = Told::default();
        let mut is_told = false;
        loop {
            self.skip(self.content.saturating_add(self.padding))?;
            (self.content, self.padding) = (0, 0);
            let mut block = [0; BLOCK];
            if !self.block(&mut block)? || block == [0; BLOCK] {
                // Two blocks of zeros are the end; where there is one, some readers go on.
                let goes_on = self.block(&mut block)? && block != [0; BLOCK];
                return match (goes_on, is_told) {
                    (true, _) => Err(Invalid::GoesOn),
                    (false, true) => Err(Invalid::Alone),
                    (false, false) => Ok(None),
                };
            }
            let header = Header::from_byte_slice(&block);
            verify(header)?;
            let size = header.entry_size().map_err(|_| Invalid::Field("size"))?;
            match header.entry_type() {
                EntryType::GNULongName => once(&mut told.long_name, self.name(size)?)?,
                EntryType::GNULongLink => once(&mut told.long_target, self.name(size)?)?,
                EntryType::XHeader => {
                    let extended = parse(&self.extension(size)?)?;
                    if told.extended.replace(extended).is_some() {
                        return Err(Invalid::Twice("two extended headers"));
                    }
                }
                EntryType::XGlobalHeader => {
                    refuse_global(&parse(&self.extension(size)?)?)?;
                    continue;
                }
                _ => return self.member(header, size, told).map(Some),
            }
            is_told = true;
        }
    }

    fn member(&mut self, header: &Header, size: u64, told: Told) -> Result<Member, Invalid> {
        let extended = told.extended.unwrap_or_default();
        let size = match extended.size {
            Some(extension) if extension != size => {
                // What the header has no room for is told beside it alone.
                if size != 0 || extension < SIZE_EXTENDED_MIN {
                    return Err(Invalid::Sizes { header: size, extension });
                }
                extension
            }
            _ => size,
        };
        let name = either(told.long_name, extended.path, "two names")?;
        let name = name.unwrap_or_else(|| header.path_bytes().into_owned());
        let target = either(told.long_target, extended.target, "two targets")?;
        let target = target.or_else(|| Some(header.link_name_bytes()?.into_owned()));
        let form = match form(header.entry_type()) {
            // So did archives before there was a type for directories.
            Form::File if name.ends_with(b"/") => Form::Directory,
            Form::File if extended.sparse => Form::Foreign(SPARSE),
            form => form,
        };
        match form {
            Form::File | Form::Foreign(_) => {
                self.content = size;
                self.padding = size.wrapping_neg() % BLOCK as u64;
            }
            Form::Directory | Form::HardLink | Form::SymbolicLink if size == 0 => {}
            _ => return Err(Invalid::Content(size)),
        }
        let seconds = header.mtime().map_err(|_| Invalid::Field("time"))?;
        let seconds = i64::try_from(seconds).map_err(|_| Invalid::Field("time"))?;
        Ok(Member {
            name,
            form,
            target: target.unwrap_or_default(),
            mode: header.mode().map_err(|_| Invalid::Field("mode"))?,
            modified: extended.modified.unwrap_or(Stamp { seconds, nanos: 0 }),
        })
    }

    /// Some of the content of the last member that was not used yet; nothing at its end.
    pub(super) fn content(&mut self) -> Result<&[u8], Invalid> {
        if self.content == 0 {
            return Ok(&[]);
        }
        let found = self.from.fill_buf()?;
        if found.is_empty() {
            return Err(Invalid::Ended);
        }
        let most = usize::try_from(self.content).unwrap_or(usize::MAX);
        Ok(&found[..found.len().min(most)])
    }

    /// Some of the content was used.
    pub(super) fn used(&mut self, count: usize) {
        self.from.consume(count);
        self.at += count as u64;
        self.content -= count as u64;
    }

    fn skip(&mut self, mut count: u64) -> Result<(), Invalid> {
        while 0 < count {
            let found = self.from.fill_buf()?.len();
            if found == 0 {
                return Err(Invalid::Ended);
            }
            let step = found.min(usize::try_from(count).unwrap_or(usize::MAX));
            self.from.consume(step);
            self.at += step as u64;
            count -= step as u64;
        }
        Ok(())
    }

    /// Fills a block; nothing was there to fill it with where it is the end.
    fn block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, Invalid> {
        let mut filled = 0;
        while filled < BLOCK {
            match self.from.read(&mut block[filled..])? {
                0 if filled == 0 => return Ok(false),
                0 => return Err(Invalid::Ended),
                count => filled += count,
            }
        }
        self.at += BLOCK as u64;
        Ok(true)
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, Invalid> {
        if EXTENSIONS_MAX < size {
            return Err(Invalid::ExtensionSize(size));
        }
        let mut bytes = vec![0; usize::try_from(size).expect("it is small")];
        self.from.read_exact(&mut bytes).map_err(|_| Invalid::Ended)?;
        self.at += size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
        Ok(bytes)
    }

    /// A name that has no room in a header. It ends at the first zero, as all readers have it.
    fn name(&mut self, size: u64) -> Result<Vec<u8>, Invalid> {
        // One byte more than a path may have is enough to refuse it.
        if PATH_MAX as u64 * 16 < size {
            return Err(Invalid::ExtensionSize(size));
        }
        let mut name = self.extension(size)?;
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        name.truncate(end);
        Ok(name)
    }
}

const SPARSE: &str = "a file with holes that are not in the archive";

fn form(told: EntryType) -> Form {
    match told {
        EntryType::Regular | EntryType::Continuous => Form::File,
        EntryType::Link => Form::HardLink,
        EntryType::Symlink => Form::SymbolicLink,
        EntryType::Directory => Form::Directory,
        EntryType::Char => Form::Foreign("a character device"),
        EntryType::Block => Form::Foreign("a block device"),
        EntryType::Fifo => Form::Foreign("a FIFO"),
        EntryType::GNUSparse => Form::Foreign(SPARSE),
        _ => Form::Foreign("of a type that is not known"),
    }
}

fn verify(header: &Header) -> Result<(), Invalid> {
    let bytes = header.as_bytes();
    // The field itself counts as spaces.
    let sum = bytes[..148].iter().chain(&bytes[156..]).map(|byte| u32::from(*byte)).sum::<u32>();
    match header.cksum() {
        Ok(told) if told == sum + 8 * u32::from(b' ') => Ok(()),
        _ => Err(Invalid::Checksum),
    }
}

fn once(place: &mut Option<Vec<u8>>, name: Vec<u8>) -> Result<(), Invalid> {
    match place.replace(name) {
        None => Ok(()),
        Some(_) => Err(Invalid::Twice("two long names")),
    }
}

/// Readers differ in which of both they believe.
fn either(
    one: Option<Vec<u8>>,
    other: Option<Vec<u8>>,
    what: &'static str,
) -> Result<Option<Vec<u8>>, Invalid> {
    match (one, other) {
        (Some(one), Some(other)) if one != other => Err(Invalid::Twice(what)),
        (one, other) => Ok(one.or(other)),
    }
}

/// Some readers obey what is told of all members, and others do not.
fn refuse_global(extended: &Extended) -> Result<(), Invalid> {
    match extended {
        Extended { path: Some(_), .. } => Err(Invalid::Global("path")),
        Extended { target: Some(_), .. } => Err(Invalid::Global("linkpath")),
        Extended { size: Some(_), .. } => Err(Invalid::Global("size")),
        Extended { sparse: true, .. } => Err(Invalid::Global("GNU.sparse")),
        _ => Ok(()),
    }
}

/// Reads records of `length key=value` and a newline, where values are any bytes.
fn parse(mut bytes: &[u8]) -> Result<Extended, Invalid> {
    let mut extended = Extended::default();
    while !bytes.is_empty() {
        let digits = bytes.iter().position(|byte| *byte == b' ').ok_or(Invalid::Extension)?;
        let length = number(&bytes[..digits]).ok_or(Invalid::Extension)?;
        let length = usize::try_from(length).map_err(|_| Invalid::Extension)?;
        let record = bytes.get(digits + 1..length).ok_or(Invalid::Extension)?;
        let record = record.strip_suffix(b"\n").ok_or(Invalid::Extension)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or(Invalid::Extension)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        match key {
            b"path" => extended.path = Some(value.to_owned()),
            b"linkpath" => extended.target = Some(value.to_owned()),
            b"size" => extended.size = Some(number(value).ok_or(Invalid::Extension)?),
            b"mtime" => extended.modified = Some(stamp(value).ok_or(Invalid::Extension)?),
            _ if key.starts_with(b"GNU.sparse.") => extended.sparse = true,
            // Owners, other times, attributes: nothing that is kept.
            _ => {}
        }
        bytes = &bytes[length..];
    }
    Ok(extended)
}

fn number(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Seconds since 1970, with a fraction, perhaps before it.
fn stamp(text: &[u8]) -> Option<Stamp> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let (before, digits) = match whole.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, whole),
    };
    let seconds = i64::try_from(number(digits.as_bytes())?).ok()?;
    number(if fraction.is_empty() { b"0" } else { fraction.as_bytes() })
        .or_else(|| fraction.bytes().all(|byte| byte.is_ascii_digit()).then_some(0))?;
    let nanos = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanos = nanos.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    Some(match (before, nanos) {
        (false, _) => Stamp { seconds, nanos },
        (true, 0) => Stamp { seconds: -seconds, nanos },
        (true, _) => Stamp { seconds: -seconds - 1, nanos: 1_000_000_000 - nanos },
    })
}
