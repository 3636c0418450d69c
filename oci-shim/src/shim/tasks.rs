//! The containers of a pod, and what containerd asks of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use aril::Runtime;
use aril::Sandbox;
use aril::WindowSize;
use containerd_shim_protos::api::CloseIORequest;
use containerd_shim_protos::api::ConnectResponse;
use containerd_shim_protos::api::DeleteRequest;
use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::api::KillRequest;
use containerd_shim_protos::api::PidsResponse;
use containerd_shim_protos::api::ProcessInfo;
use containerd_shim_protos::api::ResizePtyRequest;
use containerd_shim_protos::api::StateResponse;
use containerd_shim_protos::api::StatsResponse;
use containerd_shim_protos::api::UpdateTaskRequest;
use containerd_shim_protos::api::WaitResponse;
use containerd_shim_protos::events::task::TaskDelete;
use containerd_shim_protos::events::task::TaskExit;
use containerd_shim_protos::events::task::TaskOOM;
use containerd_shim_protos::events::task::TaskPaused;
use containerd_shim_protos::events::task::TaskResumed;
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::topics;
use oci_spec::runtime::LinuxResources;
use tokio::sync::Notify;

use crate::bundle::limits_of;
use crate::platform::groups;
use crate::platform::processes;

use super::body::Body;
use super::container::Container;
use super::events::Publisher;
use super::failure::Failure;
use super::log::Log;
use super::metrics;
use super::process::Process;
use super::process::stamp;
use super::state::End;

/// How long those beside a guest may take to be gone once it is.
const COMPANY_MAX: Duration = Duration::from_secs(2);

/// The containers of a pod.
#[derive(Debug)]
pub(super) struct Tasks {
    pub(super) publisher: Rc<Publisher>,
    pub(super) log: Rc<Log>,
    pub(super) containers: RefCell<BTreeMap<String, Rc<Container>>>,
    /// Those that are being made, and whether somebody gave them up meanwhile.
    pub(super) making: RefCell<BTreeMap<String, bool>>,
    /// The runtimes of the library, by their folders.
    pub(super) runtimes: RefCell<HashMap<PathBuf, Runtime>>,
    /// There is nothing left to do.
    pub(super) over: Notify,
}

impl Tasks {
    pub(super) fn new(publisher: Rc<Publisher>, log: Rc<Log>) -> Self {
        Self {
            publisher,
            log,
            containers: RefCell::default(),
            making: RefCell::default(),
            runtimes: RefCell::default(),
            over: Notify::new(),
        }
    }

    pub(super) fn container(&self, id: &str) -> Result<Rc<Container>, Failure> {
        let found = self.containers.borrow().get(id).map(Rc::clone);
        found.ok_or_else(|| Failure::not_found(format!("there is no container `{id}`")))
    }

    pub(super) fn state(&self, id: &str, exec: &str) -> Result<StateResponse, Failure> {
        let container = self.container(id)?;
        let process = container.process(exec)?;
        Ok(process.state(&container.bundle.display().to_string()))
    }

    pub(super) async fn wait(&self, id: &str, exec: &str) -> Result<WaitResponse, Failure> {
        let process = self.container(id)?.process(exec)?;
        let end = process.wait().await;
        Ok(WaitResponse {
            exit_status: end.code,
            exited_at: stamp(end.at),
            ..WaitResponse::default()
        })
    }

    pub(super) async fn kill(&self, request: &KillRequest) -> Result<(), Failure> {
        let container = self.container(&request.id)?;
        let process = container.process(&request.exec_id)?;
        let (signal, grace) = (request.signal, container.options.stop_grace);
        if request.all && container.guest.is_some() {
            for one in container.company() {
                // It may have ended meanwhile.
                let _gone = one.signal(signal, false, grace).await;
            }
        }
        process.signal(signal, request.all, grace).await
    }

    pub(super) fn resize(&self, request: &ResizePtyRequest) -> Result<(), Failure> {
        let process = self.container(&request.id)?.process(&request.exec_id)?;
        let cells = |count: u32| {
            let too_many = |_| Failure::invalid(format!("{count} is more than a terminal has"));
            u16::try_from(count).map_err(too_many)
        };
        process.resize(WindowSize { columns: cells(request.width)?, rows: cells(request.height)? })
    }

    pub(super) fn close_io(&self, request: &CloseIORequest) -> Result<(), Failure> {
        let process = self.container(&request.id)?.process(&request.exec_id)?;
        if request.stdin {
            process.close_input();
        }
        Ok(())
    }

    pub(super) fn pids(&self, id: &str) -> Result<PidsResponse, Failure> {
        let container = self.container(id)?;
        let first = Rc::clone(&container.first);
        let all = match first.body() {
            Some(Body::Native(native)) if !first.is_over() => native.pids()?,
            // The first one is told of until it is deleted: a containerd that was restarted takes a
            // container without any for one that never came to be, and forgets how it ended.
            _ => std::iter::once(first).chain(container.company()).map(|one| one.pid()).collect(),
        };
        let info = |pid| ProcessInfo { pid, ..ProcessInfo::default() };
        let processes = all.into_iter().map(info).collect();
        Ok(PidsResponse { processes, ..PidsResponse::default() })
    }

    pub(super) fn connect(&self, id: &str) -> ConnectResponse {
        ConnectResponse {
            shim_pid: processes::own(),
            // Whoever has no container yet wants to know the server.
            task_pid: self.container(id).map_or(0, |container| container.first.pid()),
            ..ConnectResponse::default()
        }
    }

    pub(super) fn stats(&self, id: &str) -> Result<StatsResponse, Failure> {
        let container = self.container(id)?;
        container.first.life.borrow().check_alive("measure").map_err(|_| {
            Failure::not_found(format!("container `{id}` has ended, and uses nothing"))
        })?;
        let stats = match (there(&container.first)?, &container.guest) {
            (Body::Guest(sandbox), Some(guest)) => {
                metrics::of(&sandbox.stats(), &guest.limits.get(), groups::are_unified())?
            }
            (Body::Native(native), _) => native.stats()?.to_any(),
            _ => return Err(Failure::precondition("its process cannot be measured")),
        };
        Ok(StatsResponse { stats: MessageField::some(stats), ..StatsResponse::default() })
    }

    /// Has a container and all that is beside it stand still.
    pub(super) async fn pause(&self, id: &str) -> Result<(), Failure> {
        let container = self.container(id)?;
        container.first.life.borrow().check_running("pause")?;
        there(&container.first)?.pause().await?;
        for one in container.company() {
            let Some(body) = one.body() else { continue };
            match body.pause().await {
                Err(failure) if !body.has_ended() => {
                    let _as_before = resume(&container).await;
                    return Err(failure);
                }
                _ => {}
            }
        }
        container.first.life.borrow_mut().paused();
        let event = TaskPaused { container_id: id.to_owned(), ..TaskPaused::default() };
        self.publisher.publish(topics::TASK_PAUSED_EVENT_TOPIC, &event);
        Ok(())
    }

    pub(super) async fn resume(&self, id: &str) -> Result<(), Failure> {
        let container = self.container(id)?;
        container.first.life.borrow().check_paused("resume")?;
        resume(&container).await?;
        container.first.life.borrow_mut().resumed();
        let event = TaskResumed { container_id: id.to_owned(), ..TaskResumed::default() };
        self.publisher.publish(topics::TASK_RESUMED_EVENT_TOPIC, &event);
        Ok(())
    }

    /// Holds a container and all that is beside it to other limits.
    pub(super) async fn update(&self, request: &UpdateTaskRequest) -> Result<(), Failure> {
        let container = self.container(&request.id)?;
        container.first.life.borrow().check_alive("update")?;
        let resources = request.resources.as_ref().map_or(&[][..], |any| &any.value);
        let (sandbox, guest) = match (there(&container.first)?, &container.guest) {
            (Body::Guest(sandbox), Some(guest)) => (sandbox, guest),
            (Body::Native(native), _) => return Ok(native.update(resources).await?),
            _ => return Err(Failure::precondition("its process cannot be changed")),
        };
        let resources: LinuxResources = serde_json::from_slice(resources)
            .map_err(|error| Failure::invalid(format!("resources that are none: {error}")))?;
        let mut notes = Vec::new();
        let changes = limits_of(&resources, &mut notes)
            .map_err(|refusal| Failure::invalid(refusal.to_string()))?;
        let before = guest.limits.get();
        let change = |sandbox: &Sandbox, limits| {
            sandbox.update(|current| *current = limits).map_err(|error| {
                Failure::invalid(format!("cannot hold the container to that: {error}"))
            })
        };
        let after = before.changed_by(changes);
        change(&sandbox, after)?;
        for one in container.company() {
            let Some(Body::Guest(beside)) = one.body() else { continue };
            match change(&beside, after) {
                Err(error) if !beside.has_ended() => {
                    let _as_before = change(&sandbox, before);
                    return Err(error);
                }
                _ => {}
            }
        }
        guest.limits.set(after);
        for note in notes {
            self.log.info(&format!("{}: {note}", request.id));
        }
        Ok(())
    }

    pub(super) async fn delete(&self, request: &DeleteRequest) -> Result<DeleteResponse, Failure> {
        let id = &request.id;
        if let Some(given_up) = self.making.borrow_mut().get_mut(id) {
            *given_up = true;
        }
        let container = self.container(id)?;
        let process = container.process(&request.exec_id)?;
        let waits = process.life.borrow().is_waiting();
        if waits {
            process.kill();
            process.wait().await;
        }
        process.life.borrow().check_delete()?;
        if let Some(body) = process.body() {
            body.clear().await?;
        }
        let end = process.life.borrow_mut().delete()?;
        let (code, at) = end.map_or((0, MessageField::none()), |end| (end.code, stamp(end.at)));
        let pid = process.pid();
        // What was made for it goes with it.
        drop(process.body.take());
        drop(process.pumps.take());
        if process.exec.is_empty() {
            container.execs.borrow_mut().clear();
            self.containers.borrow_mut().remove(id);
            // Where that fails, `delete` tries again.
            if let Err(failure) = container.files.borrow_mut().unmount() {
                self.log.error(&format!("{id}: {}", failure.text()));
            }
            let event = TaskDelete {
                container_id: id.clone(),
                pid,
                exit_status: code,
                exited_at: at.clone(),
                ..TaskDelete::default()
            };
            self.publisher.publish(topics::TASK_DELETE_EVENT_TOPIC, &event);
        } else {
            container.execs.borrow_mut().remove(&process.exec);
        }
        Ok(DeleteResponse { pid, exit_status: code, exited_at: at, ..DeleteResponse::default() })
    }

    /// Ends this server, if it has no container.
    pub(super) fn shutdown(&self) {
        if self.containers.borrow().is_empty() && self.making.borrow().values().all(|gone| *gone) {
            self.over.notify_one();
        }
    }

    /// Waits for the end of a guest, and tells it.
    pub(super) async fn watch(self: Rc<Self>, container: Rc<Container>, process: Rc<Process>) {
        let Some(body) = process.body() else { return };
        let out_of_memory = || {
            let event = TaskOOM { container_id: process.container.clone(), ..TaskOOM::default() };
            self.publisher.publish(topics::TASK_OOM_EVENT_TOPIC, &event);
        };
        let ended = body.end(out_of_memory, process.stdio.terminal).await;
        // Who holds it longer than it is there holds what it had.
        drop(body);
        process.settled().await;
        let last_words = process.pumps.borrow_mut().last_words();
        last_words.await;
        let whose = match process.exec.as_str() {
            "" => process.container.clone(),
            exec => format!("{}/{exec}", process.container),
        };
        match &ended.said {
            Some((said, true)) => self.log.error(&format!("{whose}: {said}")),
            Some((said, false)) => self.log.info(&format!("{whose}: {said}")),
            None => {}
        }
        process.pumps.borrow_mut().last_line(ended.last_line.as_deref());
        let end = End { code: ended.code, at: ended.at };
        if process.exec.is_empty() {
            end_company(&container).await;
            if let Err(error) = container.note_end(end) {
                self.log.error(&format!("{whose}: how it ended cannot be written: {error}"));
            }
        }
        let name = if process.exec.is_empty() { &process.container } else { &process.exec };
        let event = TaskExit {
            container_id: process.container.clone(),
            id: name.clone(),
            pid: process.pid(),
            exit_status: end.code,
            exited_at: stamp(end.at),
            ..TaskExit::default()
        };
        self.publisher.publish(topics::TASK_EXIT_EVENT_TOPIC, &event);
        process.ended(end);
    }
}

/// Ends what is beside a guest that has ended, and waits until that was told.
async fn end_company(container: &Container) {
    let left = container.company();
    for one in &left {
        one.kill();
    }
    let all = async {
        for one in &left {
            one.wait().await;
        }
    };
    // Who does not end is killed by the kernel all the same, and only later.
    let _late = tokio::time::timeout(COMPANY_MAX, all).await;
}

async fn resume(container: &Container) -> Result<(), Failure> {
    there(&container.first)?.resume().await?;
    for one in container.company() {
        if let Some(body) = one.body() {
            // It has ended, or did not stand still yet.
            let _runs = body.resume().await;
        }
    }
    Ok(())
}

/// What a process is.
fn there(process: &Process) -> Result<Body, Failure> {
    process.body().ok_or_else(|| Failure::precondition("its process is not there"))
}
