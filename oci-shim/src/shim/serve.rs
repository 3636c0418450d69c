//! The server of a pod: it listens, keeps what runs, and ends when there is nothing left.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use containerd_shim_protos::ttrpc::asynchronous::Server;
use containerd_shim_protos::ttrpc::asynchronous::transport::Listener;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use crate::platform::server;
use crate::platform::socket;

use super::address;
use super::desk::Desk;
use super::events::Publisher;
use super::flags::Flags;
use super::log::Log;
use super::service;
use super::start::EVENTS_VARIABLE;
use super::start::folder;
use super::tasks::Tasks;

/// How long a thread that did what takes a while waits for more of that.
const IDLE: Duration = Duration::from_millis(100);

/// The most of them.
const THREADS_MAX: usize = 8;

/// How many events are taken from the system at once: a pod has a handful of descriptors, and room for more
/// stays taken.
const EVENTS_AT_ONCE: usize = 64;

/// How long the last events may take to be heard, and the last answers.
const EVENTS_MAX: Duration = Duration::from_secs(3);
const ANSWERS_MAX: Duration = Duration::from_millis(500);

/// Serves until there is nothing left to do.
pub(super) fn serve(flags: &Flags) -> Result<(), String> {
    let events = std::env::var(EVENTS_VARIABLE).unwrap_or_default();
    if flags.socket.is_empty() || events.is_empty() {
        return Err(
            "containerd calls this program, with the action `start` or `delete`: name it in \
                    a runtime of its configuration, or by `ctr run --runtime`"
                .to_owned(),
        );
    }
    let folder = folder(flags)?;
    let listener =
        server::detach().map_err(|error| format!("there is no socket to listen at: {error}"))?;
    let log = Rc::new(Log::open(&folder, &flags.namespace, &flags.id));
    report_panics(&folder, flags);
    let failed = |error: std::io::Error| {
        // Nobody hears the error of this process any more.
        log.error(&format!("the server cannot run: {error}"));
        format!("the server cannot run: {error}")
    };
    if let Err(error) = server::yield_to_engine() {
        log.info(&format!("as ready to be ended as containerd when memory is short: {error}"));
    }
    let runtime = Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(IDLE)
        .max_blocking_threads(THREADS_MAX)
        .max_io_events_per_tick(EVENTS_AT_ONCE)
        .build()
        .map_err(failed)?;
    let serving = run(listener, events, flags, &log);
    LocalSet::new().block_on(&runtime, serving).map_err(failed)?;
    // What waits for somebody on a thread is not waited for.
    runtime.shutdown_background();
    Ok(())
}

async fn run(
    listener: socket::Listening,
    events: String,
    flags: &Flags,
    log: &Rc<Log>,
) -> std::io::Result<()> {
    let publisher = Publisher::new(&flags.namespace, log);
    tokio::task::spawn_local(Rc::clone(&publisher).tell(events));
    let tasks = Rc::new(Tasks::new(Rc::clone(&publisher), Rc::clone(log)));
    let (desk, mut calls) = Desk::new();
    let listener = Listener::try_from(listener)?;
    let mut server =
        Server::new().add_listener(listener).register_service(service::services(&desk));
    server.start().await.map_err(std::io::Error::other)?;
    loop {
        tokio::select! {
            call = calls.recv() => match call {
                Some(call) => drop(tokio::task::spawn_local(call(Rc::clone(&tasks)))),
                None => break,
            },
            () = tasks.over.notified() => break,
        }
    }
    if let Err(error) = socket::leave(address::path_of(&flags.socket)) {
        log.error(&format!("its socket cannot be removed: {error}"));
    }
    publisher.flush(EVENTS_MAX).await;
    let _late = tokio::time::timeout(ANSWERS_MAX, server.shutdown()).await;
    Ok(())
}

/// Has the log tell what this server broke of.
fn report_panics(folder: &Path, flags: &Flags) {
    let (folder, namespace) = (folder.to_owned(), flags.namespace.clone());
    let id = flags.id.clone();
    std::panic::set_hook(Box::new(move |broken| {
        Log::open(&folder, &namespace, &id).error(&format!("the shim is broken: {broken}"));
    }));
}
