//! The calls that add a process to a container, and start one.

use std::path::Path;
use std::rc::Rc;

use aril::Sandbox;
use containerd_shim_protos::api::ExecProcessRequest;
use containerd_shim_protos::api::StartRequest;
use containerd_shim_protos::api::StartResponse;
use containerd_shim_protos::events::task::TaskExecAdded;
use containerd_shim_protos::events::task::TaskExecStarted;
use containerd_shim_protos::topics;
use oci_spec::runtime::Process as Asked;

use crate::bundle;
use crate::guest;

use super::body::Body;
use super::container::Container;
use super::container::Guest;
use super::create::aside;
use super::create::window;
use super::failure::Failure;
use super::native;
use super::process::Process;
use super::state::End;
use super::streams::Stdio;
use super::tasks::Tasks;

/// The most processes beside a container's first one.
const EXECS_MAX: usize = 1024;

impl Tasks {
    /// Adds a process, which is not started yet.
    pub(super) fn exec(&self, request: &ExecProcessRequest) -> Result<(), Failure> {
        let container = self.container(&request.id)?;
        let name = &request.exec_id;
        if name.is_empty() {
            return Err(Failure::invalid("a process beside another one needs an id"));
        }
        container.first.life.borrow().check_joinable("run something beside")?;
        // What is no program at all is told at once.
        match &container.guest {
            Some(guest) => drop(guest.asked(&request.spec.value)?),
            None => native::check(request)?,
        }
        let stdio = Stdio {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        };
        {
            let mut execs = container.execs.borrow_mut();
            if execs.contains_key(name) {
                let text = format!("there is a process `{name}` in `{}` already", request.id);
                return Err(Failure::exists(text));
            }
            if EXECS_MAX <= execs.len() {
                let text = format!("`{}` has {EXECS_MAX} processes; delete some", request.id);
                return Err(Failure::precondition(text));
            }
            let process = Process::beside(&request.id, name, stdio, request.spec.value.clone());
            execs.insert(name.clone(), Rc::new(process));
        }
        let event = TaskExecAdded {
            container_id: request.id.clone(),
            exec_id: name.clone(),
            ..TaskExecAdded::default()
        };
        self.publisher.publish(topics::TASK_EXEC_ADDED_EVENT_TOPIC, &event);
        Ok(())
    }

    /// Starts a process, the first one or one beside it.
    pub(super) async fn start(
        self: Rc<Self>,
        request: StartRequest,
    ) -> Result<StartResponse, Failure> {
        let container = self.container(&request.id)?;
        let process = container.process(&request.exec_id)?;
        let pid = if process.exec.is_empty() {
            self.start_first(&container).await?
        } else {
            self.start_beside(container, process).await?
        };
        Ok(StartResponse { pid, ..StartResponse::default() })
    }

    async fn start_beside(
        self: Rc<Self>,
        container: Rc<Container>,
        process: Rc<Process>,
    ) -> Result<u32, Failure> {
        container.first.life.borrow().check_running("start something beside")?;
        process.life.borrow_mut().start()?;
        if let Err(failure) = self.launch_beside(&container, &process).await {
            // It was started, and so it ended: by the code of what could not be executed.
            process.ended(End { code: NOT_EXECUTED, at: std::time::SystemTime::now() });
            return Err(failure);
        }
        let pid = process.pid();
        let event = TaskExecStarted {
            container_id: container.id.clone(),
            exec_id: process.exec.clone(),
            pid,
            ..TaskExecStarted::default()
        };
        self.publisher.publish(topics::TASK_EXEC_STARTED_EVENT_TOPIC, &event);
        tokio::task::spawn_local(self.watch(container, process));
        Ok(pid)
    }

    async fn launch_beside(&self, container: &Container, process: &Process) -> Result<(), Failure> {
        let gone = || Failure::precondition("the container's process is not there any more");
        let body = match (container.first.body().ok_or_else(gone)?, &container.guest) {
            (Body::Guest(first), Some(guest)) => {
                guest.launch_beside(&first, process, &container.bundle).await?
            }
            (Body::Native(first), _) => native::make_beside(&first, process).await?,
            _ => return Err(gone()),
        };
        let pid = body.pid();
        *process.body.borrow_mut() = Some(body);
        process.life.borrow_mut().started(pid);
        if container.first.life.borrow().end().is_some() {
            // The first one ended while this one was made, and ends all that is beside it.
            process.kill();
        }
        if let Err(error) = container.note_process(pid) {
            // It may have ended already.
            self.log.info(&format!("{}: its process is not noted: {error}", process.exec));
        }
        Ok(())
    }
}

/// The code of what could not be executed.
const NOT_EXECUTED: u32 = 126;

impl Guest {
    /// What a process asks for that is to run beside the first one.
    fn asked(&self, process: &[u8]) -> Result<bundle::Container, Failure> {
        let process: Asked = serde_json::from_slice(process)
            .map_err(|error| Failure::invalid(format!("a process that is none: {error}")))?;
        let mut spec = self.spec.clone();
        spec.set_process(Some(process));
        bundle::Container::from_spec(&spec).map_err(|refusal| Failure::invalid(refusal.to_string()))
    }

    /// Launches another program of the container's beside its first one.
    async fn launch_beside(
        &self,
        first: &Sandbox,
        process: &Process,
        bundle: &Path,
    ) -> Result<Body, Failure> {
        let mut asked = self.asked(&process.asked)?;
        asked.limits = self.limits.get();
        let ready = aside({
            let (runtime, bundle) = (self.runtime.clone(), bundle.to_owned());
            let asked = asked.clone();
            move || {
                let sandbox = guest::spec(&asked, &bundle)?;
                Ok((sandbox, guest::prepare(&runtime, &asked, &bundle)?))
            }
        });
        let (sandbox, artifact) = ready.await?;
        let (sandbox, opened) = process.stdio.open(sandbox, window(&asked))?;
        let launched = self.runtime.launch_beside(&artifact, sandbox, first).await?;
        *process.pumps.borrow_mut() = opened.attach(&launched);
        Ok(Body::Guest(Rc::new(launched)))
    }
}
