//! WASI preview 1: the engine's implementation, with our counts, limits and ends around it.

use std::path::Path;
use std::sync::Arc;

use wasmtime_wasi::I32Exit;
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p1::types;
use wasmtime_wasi::p1::types::Errno;
use wasmtime_wasi::p1::types::Error;
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1;
use wiggle::GuestMemory;
use wiggle::GuestPtr;

use crate::capabilities::Denial;
use crate::capabilities::Files;
use crate::capabilities::InEnd;
use crate::capabilities::OutEnd;
use crate::capabilities::Refusal;
use crate::capabilities::Streams;
use crate::capabilities::WriteError;
use crate::limits::Overflow;
use crate::platform::files;

use super::refusal::Answer;
use super::refusal::Places;
use super::state::CALL_SIZE_MIN;
use super::state::PATH_SIZE_MAX;
use super::state::names_max;
use super::vitals::Vitals;

/// What is gathered for one write to an output.
const GATHER_SIZE: usize = 64 << 10;

/// Buffers of one write that are looked at: as many as `IOV_MAX` is elsewhere.
const BUFFERS_MAX: u32 = 1024;

/// The first descriptor that is a granted directory.
const FIRST_PREOPEN: u32 = 3;

/// A guest of preview 1.
pub(super) struct Preview1 {
    inner: WasiP1Ctx,
    vitals: Arc<Vitals>,
    stdin: InEnd,
    outputs: [OutEnd; 2],
    /// Which of the descriptors 0, 1 and 2 are still the standard streams.
    intact: [bool; 3],
    places: Places,
}

impl Preview1 {
    pub(super) fn new(
        mut inner: WasiP1Ctx,
        vitals: Arc<Vitals>,
        streams: Streams,
        files: Arc<Files>,
        resources: usize,
    ) -> Self {
        let view = inner.ctx();
        view.table.set_max_capacity(resources);
        files.give(view.ctx);
        let grants = files.preopens.len();
        let mut places = Places::new(files);
        (0..FIRST_PREOPEN).for_each(|stream| places.give(stream, None));
        (FIRST_PREOPEN..).zip(0..grants).for_each(|(fd, grant)| places.give(fd, Some(grant)));
        Self {
            inner,
            vitals,
            stdin: streams.stdin,
            outputs: [streams.stdout, streams.stderr],
            intact: [true; 3],
            places,
        }
    }

    /// A descriptor is no longer the stream that it was from the start, if it was one.
    fn forget_stream(&mut self, fd: types::Fd) {
        if let Some(intact) = self.intact.get_mut(u32::from(fd) as usize) {
            *intact = false;
        }
    }

    /// Passes a result on, and notes where it refused something. Of several paths, the first that
    /// was refused is told.
    fn judged<T>(
        &self,
        result: Result<T, Error>,
        memory: &GuestMemory<'_>,
        paths: &[(types::Fd, GuestPtr<str>)],
        write: bool,
    ) -> Result<T, Error> {
        let error = match result {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        match error.downcast() {
            Ok(errno) => {
                let answer = match errno {
                    Errno::Noent => Answer::NoEntry,
                    Errno::Perm | Errno::Notcapable | Errno::Rofs => Answer::NotPermitted,
                    Errno::Io => Answer::Io,
                    _ => Answer::Other,
                };
                let denial = paths.iter().find_map(|(fd, path)| {
                    let base = u32::from(*fd);
                    if !self.places.may_be_refusal(base, answer) {
                        return None;
                    }
                    self.places.refusal(base, &memory.as_cow_str(*path).ok()?, write, answer)
                });
                let is_denied = denial.is_some();
                if let Some(denial) = denial {
                    self.vitals.note_denial(denial);
                }
                // Whoever refused it, the guest is told the same.
                Err(if is_denied && answer == Answer::Io { Errno::Perm } else { errno }.into())
            }
            Err(trap) => Err(Error::trap(trap)),
        }
    }

    /// The most names that an open directory has, counted up to `enough`.
    fn names_in_any(&mut self, enough: usize) -> usize {
        let open = self.inner.ctx().table.iter_mut();
        let counts = open.map(|entry| match entry.downcast_ref::<Descriptor>() {
            Some(Descriptor::Dir(directory)) => {
                files::count_names(&directory.dir, Path::new(""), enough).unwrap_or(0)
            }
            _ => 0,
        });
        counts.max().unwrap_or(0)
    }

    /// The output that a descriptor is, where it can be written to at once.
    fn output(&self, fd: types::Fd) -> Option<&OutEnd> {
        let fd = u32::from(fd) as usize;
        let output = self.outputs.get(fd.checked_sub(1)?)?;
        (self.intact[fd] && output.is_direct()).then_some(output)
    }

    /// Writes to standard output or standard error; all of one buffer, or of several small ones.
    fn write_output(
        output: &OutEnd,
        memory: &GuestMemory<'_>,
        buffers: types::CiovecArray,
    ) -> Result<types::Size, Error> {
        let mut gathered: Vec<u8> = Vec::new();
        let mut single = None;
        for buffer in buffers.iter().take(BUFFERS_MAX as usize) {
            let buffer = memory.read(buffer?)?;
            if buffer.buf_len == 0 {
                continue;
            }
            let bytes = buffer.buf.as_array(buffer.buf_len);
            match single.take() {
                None if gathered.is_empty() => {
                    single = Some(bytes);
                    continue;
                }
                None => {}
                // A large buffer is written as it lies, and not copied: a short write again.
                Some(first) if GATHER_SIZE < first.len() as usize + bytes.len() as usize => {
                    single = Some(first);
                    break;
                }
                Some(first) => gathered.extend_from_slice(&memory.as_cow(first)?),
            }
            if GATHER_SIZE < gathered.len() + bytes.len() as usize {
                // A short write: the guest comes again with the rest.
                break;
            }
            gathered.extend_from_slice(&memory.as_cow(bytes)?);
        }
        let (written, result) = match single {
            Some(bytes) => (bytes.len(), output.write_now(&memory.as_cow(bytes)?)),
            None => (u32::try_from(gathered.len())?, output.write_now(&gathered)),
        };
        match result {
            Ok(()) => Ok(written),
            Err(WriteError::Overflow) => Err(Error::trap(Overflow.into())),
            Err(WriteError::Host(error)) => Err(match error.kind() {
                std::io::ErrorKind::BrokenPipe => Errno::Pipe,
                std::io::ErrorKind::StorageFull => Errno::Nospc,
                _ => Errno::Io,
            }
            .into()),
        }
    }

    /// Reads standard input at once, where that is what the guest reads.
    fn read_input(
        &self,
        memory: &mut GuestMemory<'_>,
        buffers: types::IovecArray,
    ) -> Result<Option<types::Size>, Error> {
        for buffer in buffers.iter().take(BUFFERS_MAX as usize) {
            let buffer = memory.read(buffer?)?;
            if buffer.buf_len == 0 {
                continue;
            }
            let bytes = buffer.buf.as_array(buffer.buf_len);
            let Some(bytes) = memory.as_slice_mut(bytes)? else { return Ok(None) };
            return match self.stdin.read_now(bytes) {
                None => Ok(None),
                Some(Ok(count)) => Ok(Some(u32::try_from(count)?)),
                Some(Err(_)) => Err(Errno::Io.into()),
            };
        }
        Ok(Some(0))
    }
}

/// Refuses paths that are longer than any system takes, before they are copied.
fn check_length(paths: &[GuestPtr<str>]) -> Result<(), Error> {
    if paths.iter().any(|path| PATH_SIZE_MAX < path.len() as usize) {
        return Err(Errno::Nametoolong.into());
    }
    Ok(())
}

/// Passes calls on as they are.
macro_rules! pass {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) -> $ok:ty;)*) => {$(
        fn $name(&mut self, memory: &mut GuestMemory<'_>, $($arg: $ty),*) -> Result<$ok, Error> {
            self.inner.$name(memory, $($arg),*)
        }
    )*};
}

/// Passes calls that may wait on as they are.
macro_rules! pass_async {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) -> $ok:ty;)*) => {$(
        async fn $name(&mut self, memory: &mut GuestMemory<'_>, $($arg: $ty),*) -> Result<$ok, Error> {
            self.inner.$name(memory, $($arg),*).await
        }
    )*};
}

/// Passes calls on paths on, and notes what they were refused.
macro_rules! pass_judged {
    ($($write:literal fn $name:ident($($arg:ident: $ty:ty),*) -> $ok:ty => $($fd:ident, $path:ident),+;)*) => {$(
        async fn $name(&mut self, memory: &mut GuestMemory<'_>, $($arg: $ty),*) -> Result<$ok, Error> {
            check_length(&[$($path),+])?;
            let result = self.inner.$name(memory, $($arg),*).await;
            self.judged(result, memory, &[$(($fd, $path)),+], $write)
        }
    )*};
}

impl WasiSnapshotPreview1 for Preview1 {
    fn set_hostcall_fuel(&mut self, _engine_wide: usize) {
        // What a call copies is held beside the guest's memory, and so within the guest's total.
        let size = self.vitals.meter.left().max(CALL_SIZE_MIN);
        self.inner.set_hostcall_fuel(usize::try_from(size).unwrap_or(usize::MAX));
    }

    pass! {
        fn args_get(argv: GuestPtr<GuestPtr<u8>>, buffer: GuestPtr<u8>) -> ();
        fn args_sizes_get() -> (types::Size, types::Size);
        fn environ_get(environ: GuestPtr<GuestPtr<u8>>, buffer: GuestPtr<u8>) -> ();
        fn environ_sizes_get() -> (types::Size, types::Size);
        fn clock_res_get(id: types::Clockid) -> types::Timestamp;
        fn clock_time_get(id: types::Clockid, precision: types::Timestamp) -> types::Timestamp;
        fn fd_allocate(fd: types::Fd, offset: types::Filesize, size: types::Filesize) -> ();
        fn fd_fdstat_set_flags(fd: types::Fd, flags: types::Fdflags) -> ();
        fn fd_fdstat_set_rights(fd: types::Fd, base: types::Rights, inherit: types::Rights) -> ();
        fn fd_prestat_get(fd: types::Fd) -> types::Prestat;
        fn fd_prestat_dir_name(fd: types::Fd, path: GuestPtr<u8>, size: types::Size) -> ();
        fn fd_tell(fd: types::Fd) -> types::Filesize;
        fn proc_raise(signal: types::Signal) -> ();
        fn sched_yield() -> ();
        fn random_get(buffer: GuestPtr<u8>, size: types::Size) -> ();
        fn sock_accept(fd: types::Fd, flags: types::Fdflags) -> types::Fd;
        fn sock_recv(fd: types::Fd, data: types::IovecArray, flags: types::Riflags) -> (types::Size, types::Roflags);
        fn sock_send(fd: types::Fd, data: types::CiovecArray, flags: types::Siflags) -> types::Size;
        fn sock_shutdown(fd: types::Fd, how: types::Sdflags) -> ();
    }

    pass_async! {
        fn fd_advise(fd: types::Fd, offset: types::Filesize, size: types::Filesize, advice: types::Advice) -> ();
        fn fd_datasync(fd: types::Fd) -> ();
        fn fd_fdstat_get(fd: types::Fd) -> types::Fdstat;
        fn fd_filestat_get(fd: types::Fd) -> types::Filestat;
        fn fd_filestat_set_size(fd: types::Fd, size: types::Filesize) -> ();
        fn fd_filestat_set_times(fd: types::Fd, atim: types::Timestamp, mtim: types::Timestamp, flags: types::Fstflags) -> ();
        fn fd_pread(fd: types::Fd, buffers: types::IovecArray, offset: types::Filesize) -> types::Size;
        fn fd_pwrite(fd: types::Fd, buffers: types::CiovecArray, offset: types::Filesize) -> types::Size;
        fn fd_seek(fd: types::Fd, offset: types::Filedelta, whence: types::Whence) -> types::Filesize;
        fn fd_sync(fd: types::Fd) -> ();
        fn poll_oneoff(subs: GuestPtr<types::Subscription>, events: GuestPtr<types::Event>, count: types::Size) -> types::Size;
    }

    pass_judged! {
        true fn path_create_directory(fd: types::Fd, path: GuestPtr<str>) -> () => fd, path;
        false fn path_filestat_get(fd: types::Fd, flags: types::Lookupflags, path: GuestPtr<str>) -> types::Filestat => fd, path;
        true fn path_filestat_set_times(fd: types::Fd, flags: types::Lookupflags, path: GuestPtr<str>, atim: types::Timestamp, mtim: types::Timestamp, fst_flags: types::Fstflags) -> () => fd, path;
        true fn path_link(old_fd: types::Fd, flags: types::Lookupflags, old: GuestPtr<str>, fd: types::Fd, path: GuestPtr<str>) -> () => old_fd, old, fd, path;
        false fn path_readlink(fd: types::Fd, path: GuestPtr<str>, buffer: GuestPtr<u8>, size: types::Size) -> types::Size => fd, path;
        true fn path_remove_directory(fd: types::Fd, path: GuestPtr<str>) -> () => fd, path;
        true fn path_rename(fd: types::Fd, path: GuestPtr<str>, new_fd: types::Fd, new: GuestPtr<str>) -> () => fd, path, new_fd, new;
        true fn path_symlink(target: GuestPtr<str>, fd: types::Fd, path: GuestPtr<str>) -> () => fd, path, fd, target;
        true fn path_unlink_file(fd: types::Fd, path: GuestPtr<str>) -> () => fd, path;
    }

    async fn fd_readdir(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: types::Fd,
        buffer: GuestPtr<u8>,
        size: types::Size,
        cookie: types::Dircookie,
    ) -> Result<types::Size, Error> {
        let most = names_max(self.vitals.meter.left());
        let names = self.places.names_in(fd.into(), most + 1);
        // A directory that was moved is not found by its path; it is one of those that are open.
        if most < names.unwrap_or_else(|| self.names_in_any(most + 1)) {
            return Err(Errno::Nomem.into());
        }
        self.inner.fd_readdir(memory, fd, buffer, size, cookie).await
    }

    async fn path_open(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: types::Fd,
        flags: types::Lookupflags,
        path: GuestPtr<str>,
        oflags: types::Oflags,
        base: types::Rights,
        inheriting: types::Rights,
        fdflags: types::Fdflags,
    ) -> Result<types::Fd, Error> {
        check_length(&[path])?;
        if !self.vitals.open_file() {
            let path = self.places.whole(fd.into(), &memory.as_cow_str(path)?);
            let denial = Denial::new(&path, Refusal::TooManyFiles);
            self.vitals.note_denial(denial);
            return Err(Errno::Mfile.into());
        }
        let write = oflags.intersects(types::Oflags::CREAT | types::Oflags::TRUNC)
            || base.contains(types::Rights::FD_WRITE);
        let result =
            self.inner.path_open(memory, fd, flags, path, oflags, base, inheriting, fdflags).await;
        match &result {
            Ok(opened) => {
                let path = memory.as_cow_str(path)?;
                self.places.note_opened((*opened).into(), fd.into(), &path);
            }
            Err(_) => self.vitals.close_file(),
        }
        self.judged(result, memory, &[(fd, path)], write)
    }

    async fn fd_close(&mut self, memory: &mut GuestMemory<'_>, fd: types::Fd) -> Result<(), Error> {
        self.inner.fd_close(memory, fd).await?;
        if self.places.note_closed(fd.into()) {
            self.vitals.close_file();
        }
        self.forget_stream(fd);
        Ok(())
    }

    async fn fd_renumber(
        &mut self,
        memory: &mut GuestMemory<'_>,
        from: types::Fd,
        to: types::Fd,
    ) -> Result<(), Error> {
        self.inner.fd_renumber(memory, from, to).await?;
        if u32::from(from) != u32::from(to) {
            if self.places.note_renumbered(from.into(), to.into()) {
                self.vitals.close_file();
            }
            self.forget_stream(from);
            self.forget_stream(to);
        }
        Ok(())
    }

    async fn fd_read(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: types::Fd,
        buffers: types::IovecArray,
    ) -> Result<types::Size, Error> {
        if u32::from(fd) == 0
            && self.intact[0]
            && let Some(count) = self.read_input(memory, buffers)?
        {
            return Ok(count);
        }
        self.inner.fd_read(memory, fd, buffers).await
    }

    async fn fd_write(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: types::Fd,
        buffers: types::CiovecArray,
    ) -> Result<types::Size, Error> {
        match self.output(fd) {
            Some(output) => Self::write_output(output, memory, buffers),
            None => self.inner.fd_write(memory, fd, buffers).await,
        }
    }

    fn proc_exit(&mut self, _: &mut GuestMemory<'_>, code: types::Exitcode) -> wasmtime::Error {
        // The engine's own refuses codes from 126 on, which programs do use.
        I32Exit(code.cast_signed()).into()
    }
}
