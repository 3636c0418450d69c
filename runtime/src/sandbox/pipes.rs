//! What the streams of a worker are connected to, and who reads them.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinHandle;

use crate::capabilities::Input;
use crate::capabilities::Output;
use crate::platform::child;
use crate::platform::child::Stream;
use crate::platform::stdio::InputEnd;
use crate::platform::terminal::Terminal;
use crate::units::Bytes;

use super::exit::Exit;
use super::handle::Captured;
use super::handle::HostEnds;
use super::handle::InheritedInput;
use super::spec::SandboxSpec;
use super::terminal::Typed;
use super::vitals::Vitals;

/// What a guest's streams are connected to.
pub(super) struct Connected {
    /// The worker's ends.
    pub(super) streams: [Stream; 3],
    pub(super) ends: HostEnds,
    pub(super) captured: [Captured; 2],
    /// What reads on the guest's behalf, until the worker has ended.
    pub(super) reading: Vec<JoinHandle<()>>,
    pub(super) input_end: Arc<InputEnd>,
}

/// Connects a guest's streams.
pub(super) fn connect(spec: &SandboxSpec, vitals: &Arc<Vitals>) -> io::Result<Connected> {
    let input_end = Arc::new(InputEnd::new()?);
    let mut ends = HostEnds::default();
    let terminal =
        spec.terminal.map(|size| Terminal::open((size.columns, size.rows))).transpose()?;
    let handed = |index: usize| {
        let file = spec.placement.streams.get(index).and_then(Option::as_ref);
        file.map(|file| file.try_clone().map(Stream::Handle)).transpose()
    };
    let stdin = match &spec.capabilities.stdin {
        Input::Inherit if let Some(file) = handed(0)? => file,
        Input::Closed => Stream::Null,
        Input::Inherit => Stream::Inherit,
        Input::Bytes(bytes) => {
            let (mut writer, reader) = child::input_pipe()?;
            let bytes = bytes.clone();
            tokio::spawn(async move {
                // A guest need not read all of it.
                let _unread = writer.write_all(&bytes).await;
            });
            Stream::Handle(reader)
        }
        Input::Stream if let Some((near, far)) = &terminal => {
            ends.stdin = Some(Box::new(Typed::new(near.clone(), Arc::clone(vitals))));
            Stream::Handle(far.try_clone()?)
        }
        Input::Stream => {
            let (writer, reader) = child::input_pipe()?;
            ends.stdin = Some(Box::new(writer));
            Stream::Handle(reader)
        }
    };
    let mut captured = [None, None];
    let mut reading = Vec::new();
    let mut output = |index: usize, output: Output| -> io::Result<Stream> {
        Ok(match output {
            Output::Discard => Stream::Null,
            Output::Inherit if let Some(file) = handed(1 + index)? => file,
            Output::Inherit => Stream::Inherit,
            Output::Stream if let Some((near, far)) = &terminal => {
                // Both are one.
                ends.outputs[0] = Some(Box::new(near.clone()));
                Stream::Handle(far.try_clone()?)
            }
            Output::Stream => {
                let (reader, writer) = child::output_pipe()?;
                ends.outputs[index] = Some(Box::new(reader));
                Stream::Handle(writer)
            }
            Output::Capture => {
                let (reader, writer) = child::output_pipe()?;
                let into = Arc::default();
                captured[index] = Some(Arc::clone(&into));
                reading.push(tokio::spawn(capture(reader, into, Arc::clone(vitals))));
                Stream::Handle(writer)
            }
        })
    };
    let stdout = output(0, spec.capabilities.stdout)?;
    let stderr = output(1, spec.capabilities.stderr)?;
    ends.terminal = terminal.map(|(near, _far)| near);
    ends.inherited = Some(InheritedInput::new(Arc::clone(&input_end)));
    Ok(Connected { streams: [stdin, stdout, stderr], ends, captured, reading, input_end })
}

/// Keeps what a worker writes, up to what its guest may write: it counts itself, and here is where
/// one is ended that does not.
async fn capture(mut from: child::OutputPipe, into: Arc<Mutex<Vec<u8>>>, vitals: Arc<Vitals>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count) = from.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        let most = vitals.amounts().output.map_or(u64::MAX, Bytes::get);
        let mut kept = into.lock().unwrap_or_else(PoisonError::into_inner);
        let left = usize::try_from(most.saturating_sub(kept.len() as u64)).unwrap_or(usize::MAX);
        kept.extend_from_slice(&buffer[..count.min(left)]);
        if left < count {
            vitals.order(Exit::Output);
            break;
        }
    }
}
