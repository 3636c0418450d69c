//! The calls that make and start a container.

use std::cell::Cell;
use std::cell::RefCell;
use std::path::Path;
use std::path::PathBuf;
use std::rc::Rc;

use aril::Artifact;
use aril::Runtime;
use aril::SandboxSpec;
use aril::WindowSize;
use containerd_shim_protos::api::CreateTaskRequest;
use containerd_shim_protos::api::CreateTaskResponse;
use containerd_shim_protos::api::Mount;
use containerd_shim_protos::events::task::TaskCreate;
use containerd_shim_protos::events::task::TaskIO;
use containerd_shim_protos::events::task::TaskStart;
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::topics;
use oci_spec::runtime::Spec;

use crate::bundle;
use crate::bundle::BundleError;
use crate::bundle::Container as Asked;
use crate::guest;
use crate::guest::Found;
use crate::guest::Program;

use super::body::Body;
use super::container::Container;
use super::container::Files;
use super::container::Guest;
use super::failure::Failure;
use super::native;
use super::options::Options;
use super::process::Process;
use super::record::Record;
use super::streams::Stdio;
use super::tasks::Tasks;
use super::whole;

/// What a bundle asks for, ready to be made.
enum Ready {
    Guest(Box<GuestReady>),
    Native(Files, Box<Spec>),
}

/// A guest that is ready to be launched.
struct GuestReady {
    files: Files,
    spec: Spec,
    asked: Asked,
    sandbox: SandboxSpec,
    group: Option<String>,
    runtime: Runtime,
    artifact: Artifact,
}

/// A container that is being made, until it is there or not.
struct Making<'a>(&'a Tasks, &'a str);

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.0.making.borrow_mut().remove(self.1);
    }
}

impl Tasks {
    /// Makes a container: its guest is there, and waits for its start.
    pub(super) async fn create(
        self: Rc<Self>,
        request: CreateTaskRequest,
    ) -> Result<CreateTaskResponse, Failure> {
        let id = request.id.as_str();
        if id.is_empty() {
            return Err(Failure::invalid("a container needs an id"));
        }
        if !request.checkpoint.is_empty() || !request.parent_checkpoint.is_empty() {
            return Err(Failure::unimplemented("a container is not made from a checkpoint here"));
        }
        let is_there = self.containers.borrow().contains_key(id);
        if is_there || self.making.borrow().contains_key(id) {
            return Err(Failure::exists(format!("there is a container `{id}` already")));
        }
        self.making.borrow_mut().insert(id.to_owned(), false);
        let making = Making(&self, id);
        let container = Rc::new(Box::pin(self.make(&request)).await?);
        if self.making.borrow().get(id) == Some(&true) {
            return Err(Failure::precondition(format!("`{id}` was deleted while it was made")));
        }
        drop(making);
        let pid = container.first.pid();
        self.containers.borrow_mut().insert(id.to_owned(), Rc::clone(&container));
        let event = TaskCreate {
            container_id: id.to_owned(),
            bundle: request.bundle.clone(),
            rootfs: request.rootfs.clone(),
            io: MessageField::some(TaskIO {
                stdin: request.stdin.clone(),
                stdout: request.stdout.clone(),
                stderr: request.stderr.clone(),
                terminal: request.terminal,
                ..TaskIO::default()
            }),
            pid,
            ..TaskCreate::default()
        };
        self.publisher.publish(topics::TASK_CREATE_EVENT_TOPIC, &event);
        let first = Rc::clone(&container.first);
        tokio::task::spawn_local(Rc::clone(&self).watch(container, first));
        Ok(CreateTaskResponse { pid, ..CreateTaskResponse::default() })
    }

    async fn make(&self, request: &CreateTaskRequest) -> Result<Container, Failure> {
        let options = Options::read(request.options.as_ref()).map_err(Failure::invalid)?;
        let bundle = PathBuf::from(&request.bundle);
        let cache = options.cache.clone().unwrap_or_else(guest::cache);
        let known = self.runtimes.borrow().get(&cache).cloned();
        let (layers, limits) = (request.rootfs.clone(), options.limits);
        let ready = aside({
            let (bundle, cache) = (bundle.clone(), cache.clone());
            move || ready(&bundle, &layers, limits, (known, &cache))
        });
        let ready = ready.await?;
        let stdio = Stdio {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        };
        let (first, files, record, guest) = match ready {
            Ready::Guest(ready) => {
                self.runtimes.borrow_mut().entry(cache).or_insert_with(|| ready.runtime.clone());
                for note in &ready.asked.notes {
                    self.log.info(&format!("{}: {note}", request.id));
                }
                Box::pin(launched(request, &bundle, *ready, stdio)).await?
            }
            Ready::Native(files, spec) => {
                let maker = native::maker(&request.id, &bundle, &options, &spec);
                let record = Record { maker: Some(maker.clone()), ..Record::default() };
                let first = Box::pin(native::make(&bundle, maker, stdio)).await?;
                (first, files, record, None)
            }
        };
        let container = Container {
            id: request.id.clone(),
            bundle,
            first: Rc::new(first),
            execs: RefCell::default(),
            options,
            guest,
            record: RefCell::new(record),
            files: RefCell::new(files),
        };
        if let Err(error) = container.note_process(container.first.pid()) {
            // It may have ended already; and what is not known ends with this server, or by its maker.
            self.log.info(&format!("{}: its process is not noted: {error}", request.id));
        }
        Ok(container)
    }

    /// Starts the first process of a container.
    pub(super) async fn start_first(&self, container: &Container) -> Result<u32, Failure> {
        let first = &container.first;
        first.life.borrow_mut().start()?;
        let gone = || Failure::precondition("its process is not there");
        let started = match first.body() {
            Some(body) => body.start().await,
            None => Err(gone()),
        };
        let pid = first.pid();
        if let Err(failure) = started {
            first.life.borrow_mut().not_started();
            first.settle();
            return Err(failure);
        }
        first.life.borrow_mut().started(pid);
        let event = TaskStart { container_id: container.id.clone(), pid, ..TaskStart::default() };
        self.publisher.publish(topics::TASK_START_EVENT_TOPIC, &event);
        first.settle();
        Ok(pid)
    }
}

/// Launches a guest, which waits for its start.
async fn launched(
    request: &CreateTaskRequest,
    bundle: &Path,
    ready: GuestReady,
    stdio: Stdio,
) -> Result<(Process, Files, Record, Option<Guest>), Failure> {
    let GuestReady { files, spec, asked, sandbox, group, runtime, artifact } = ready;
    let (mut sandbox, opened) = stdio.open(sandbox, window(&asked))?;
    if let Some(group) = &group {
        sandbox = sandbox.control_group(group).map_err(|error| Failure::invalid(whole(&error)))?;
    }
    let record = Record { group, ..Record::default() };
    // Before there is anything to clear up.
    record.write(bundle).map_err(|error| {
        Failure::other(format!("cannot write into the bundle `{}`: {error}", bundle.display()))
    })?;
    let launched = runtime.launch(&artifact, sandbox.held()).await?;
    let pumps = opened.attach(&launched);
    let body = Body::Guest(Rc::new(launched));
    let first = Process::first(&request.id, stdio, body, pumps);
    let guest = Guest { spec, runtime, limits: Cell::new(asked.limits) };
    Ok((first, files, record, Some(guest)))
}

/// Makes ready what a bundle asks for. This may take as long as compiling takes.
fn ready(
    bundle: &Path,
    layers: &[Mount],
    limits: aril::Limits,
    (runtime, cache): (Option<Runtime>, &Path),
) -> Result<Ready, Failure> {
    let files = Files::mount(bundle, layers)?;
    let path = bundle.join(bundle::CONFIG);
    let spec = bundle::read_spec(&path)?;
    let program = match Program::look(&spec, bundle)? {
        Found::Wasm(program) => program,
        Found::Other => return Ok(Ready::Native(files, Box::new(spec))),
    };
    let mut asked =
        Asked::from_spec(&spec).map_err(|refusal| BundleError::Refused { path, refusal })?;
    asked.limits = limits.changed_by(asked.limits);
    guest::refuse_hooks(&asked)?;
    let group = guest::group(&asked)?;
    let sandbox = guest::spec(&asked, bundle)?;
    let runtime = match runtime {
        Some(runtime) => runtime,
        None => Runtime::open(cache).map_err(|error| Failure::other(whole(&error)))?,
    };
    let artifact = runtime.prepare_alone(program.source(), &asked.limits, |_waited| {})?;
    let ready = GuestReady { files, spec, asked, sandbox, group, runtime, artifact };
    Ok(Ready::Guest(Box::new(ready)))
}

/// Does what may take a while on a thread of its own.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Failure::other(format!("the shim failed: {error}"))),
    }
}

/// The size of a container's terminal, where it is said.
pub(super) fn window(asked: &Asked) -> WindowSize {
    let size = asked.terminal.and_then(|terminal| terminal.size);
    size.map_or_else(WindowSize::default, |(rows, columns)| WindowSize { columns, rows })
}
