//! What kubelet asks of containerd: the Container Runtime Interface, by gRPC.
//!
//! Messages are JSON here, by the names of their fields in `cri.proto`. Source of the framing: the
//! gRPC over HTTP/2 protocol.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use protobuf::reflect::FileDescriptor;
use protobuf_json_mapping::PrintOptions;
use serde_json::Value;
use serde_json::json;

use super::Containerd;
use crate::support::Bench;
use crate::support::installed;
use crate::support::root;
use crate::support::wait_until;

/// The longest that a call may take, in seconds.
const CALL_MAX: &str = "50";

/// A pod, and what it was made of.
pub(crate) struct Pod {
    pub(crate) id: String,
    config: Value,
}

/// What a command in a container said, and its end.
#[derive(Debug, PartialEq)]
pub(crate) struct Said {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i64,
}

/// One who asks as kubelet does.
pub(crate) struct Cri {
    socket: PathBuf,
    folder: PathBuf,
    group: String,
    messages: FileDescriptor,
    count: AtomicU32,
}

impl Cri {
    /// Waits until containerd is ready for pods; nothing, said aloud, where this machine cannot.
    pub(crate) fn new(bench: &Bench, containerd: &Containerd) -> Option<Self> {
        let cri = Self::for_images(bench, containerd)?;
        wait_until("containerd is ready for pods", || {
            let status = cri.ask("Status", &json!({}));
            let conditions = status["status"]["conditions"].as_array().unwrap();
            // Others are of what containerd would have settings say in a newer way.
            ["RuntimeReady", "NetworkReady"].iter().all(|wanted| {
                conditions.iter().any(|found| found["type"] == *wanted && found["status"] == true)
            })
        });
        Some(cri)
    }

    /// For who wants nothing but images.
    pub(crate) fn for_images(bench: &Bench, containerd: &Containerd) -> Option<Self> {
        installed("curl")?;
        let socket = containerd.socket();
        let folder = bench.path().to_owned();
        let group = containerd.group().to_owned();
        Some(Self { socket, folder, group, messages: messages(), count: AtomicU32::new(0) })
    }

    /// Calls a method.
    ///
    /// # Errors
    ///
    /// What containerd says against it.
    pub(crate) fn call(&self, method: &str, request: &Value) -> Result<Value, String> {
        let message = |ending: &str| {
            self.messages.message_by_package_relative_name(&format!("{method}{ending}")).unwrap()
        };
        let text = request.to_string();
        let request = protobuf_json_mapping::parse_dyn_from_str(&message("Request"), &text);
        let request = request.unwrap_or_else(|error| panic!("{method} {text}: {error}"));
        let request = request.write_to_bytes_dyn().unwrap();
        let head = [&[0][..], &u32::try_from(request.len()).unwrap().to_be_bytes()].concat();
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let [asked, answered] = ["request", "answer"]
            .map(|name| self.folder.join(format!("{}-{name}-{number}", self.group)));
        fs::write(&asked, [head, request].concat()).unwrap();
        let service = if method.contains("Image") { "ImageService" } else { "RuntimeService" };
        let output = Command::new("curl")
            .args(["-sS", "--max-time", CALL_MAX, "--http2-prior-knowledge", "--unix-socket"])
            .arg(&self.socket)
            .args(["-H", "content-type: application/grpc", "-H", "te: trailers", "-D", "-", "-o"])
            .arg(&answered)
            .arg("--data-binary")
            .arg(format!("@{}", asked.display()))
            .arg(format!("http://localhost/runtime.v1.{service}/{method}"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        // The end of the call is told in headers, before the answer or behind it.
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !said.lines().any(|line| line.eq_ignore_ascii_case("grpc-status: 0")) {
            return Err(format!("{method}: {said}{}", String::from_utf8_lossy(&output.stderr)));
        }
        let answer = fs::read(answered).unwrap();
        let answer = message("Response").parse_from_bytes(&answer[head_size()..]).unwrap();
        let options = PrintOptions { proto_field_name: true, ..PrintOptions::default() };
        let text = protobuf_json_mapping::print_to_string_with_options(&*answer, &options).unwrap();
        Ok(serde_json::from_str(&text).unwrap())
    }

    /// Calls a method that is to succeed.
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, request: &Value) -> Value {
        self.call(method, request).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Waits until an image that was imported is known here too.
    #[track_caller]
    pub(crate) fn wait_for_image(&self, name: &str) {
        wait_until(name, || {
            let status = self.ask("ImageStatus", &json!({"image": {"image": name}}));
            !status["image"].is_null()
        });
    }

    /// Starts a pod by a handler, with what else is wanted of it: its logs are in `logs` of the
    /// test's folder.
    ///
    /// # Errors
    ///
    /// What containerd says against it.
    pub(crate) fn try_pod(&self, handler: &str, name: &str, more: Value) -> Result<Pod, String> {
        let logs = self.folder.join("logs");
        fs::create_dir_all(&logs).unwrap();
        let mut config = json!({
            "metadata": {"name": name, "uid": format!("uid-{name}"), "namespace": "test"},
            "hostname": name,
            "log_directory": logs,
            "linux": {"cgroup_parent": format!("/{}", self.group)},
        });
        merge(&mut config, more);
        let request = json!({"config": config, "runtime_handler": handler});
        let answer = self.call("RunPodSandbox", &request)?;
        Ok(Pod { id: id_in(&answer["pod_sandbox_id"]), config })
    }

    #[track_caller]
    pub(crate) fn pod(&self, handler: &str, name: &str, more: Value) -> Pod {
        self.try_pod(handler, name, more).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Makes a container in a pod, and says its identity. It logs to `NAME.log`.
    ///
    /// # Errors
    ///
    /// What containerd says against it.
    pub(crate) fn try_create(
        &self,
        pod: &Pod,
        name: &str,
        image: &str,
        more: Value,
    ) -> Result<String, String> {
        let mut config = json!({
            "metadata": {"name": name},
            "image": {"image": image},
            "log_path": format!("{name}.log"),
        });
        merge(&mut config, more);
        let request =
            json!({"pod_sandbox_id": pod.id, "config": config, "sandbox_config": pod.config});
        Ok(id_in(&self.call("CreateContainer", &request)?["container_id"]))
    }

    /// Makes a container in a pod, and starts it.
    #[track_caller]
    pub(crate) fn start(&self, pod: &Pod, name: &str, image: &str, more: Value) -> String {
        let id = self.try_create(pod, name, image, more);
        let id = id.unwrap_or_else(|error| panic!("{error}"));
        self.ask("StartContainer", &json!({"container_id": id}));
        id
    }

    /// What is said of a container.
    #[track_caller]
    pub(crate) fn status(&self, id: &str) -> Value {
        self.ask("ContainerStatus", &json!({"container_id": id}))["status"].take()
    }

    /// Waits for a container's end, and says its code, which JSON leaves out where it is 0.
    #[track_caller]
    pub(crate) fn wait_for_end(&self, id: &str) -> i64 {
        let mut status = Value::Null;
        wait_until("the end of a container", || {
            status = self.status(id);
            status["state"] == "CONTAINER_EXITED"
        });
        status["exit_code"].as_i64().unwrap_or_default()
    }

    /// Has a command run in a container.
    #[track_caller]
    pub(crate) fn exec(&self, id: &str, command: &[&str]) -> Said {
        let request = json!({"container_id": id, "cmd": command, "timeout": "20"});
        let answer = self.ask("ExecSync", &request);
        // Bytes are base64 in JSON.
        let text = |name: &str| {
            let text = answer[name].as_str().unwrap_or_default();
            String::from_utf8(BASE64.decode(text).unwrap()).unwrap()
        };
        let code = answer["exit_code"].as_i64().unwrap_or_default();
        Said { stdout: text("stdout"), stderr: text("stderr"), code }
    }

    /// What a container uses.
    #[track_caller]
    pub(crate) fn stats(&self, id: &str) -> Value {
        self.ask("ContainerStats", &json!({"container_id": id}))["stats"].take()
    }

    /// Stops a container: after as many seconds it is killed.
    #[track_caller]
    pub(crate) fn stop(&self, id: &str, seconds: u32) {
        let request = json!({"container_id": id, "timeout": seconds.to_string()});
        self.ask("StopContainer", &request);
    }

    #[track_caller]
    pub(crate) fn remove(&self, id: &str) {
        self.ask("RemoveContainer", &json!({"container_id": id}));
    }

    /// Ends a pod with all that is in it, and forgets it.
    #[track_caller]
    pub(crate) fn end(&self, pod: &Pod) {
        self.ask("StopPodSandbox", &json!({"pod_sandbox_id": pod.id}));
        self.ask("RemovePodSandbox", &json!({"pod_sandbox_id": pod.id}));
    }

    /// What is in the log of a container: of each line its stream and its text.
    pub(crate) fn log(&self, name: &str) -> Vec<(String, String)> {
        let path = self.folder.join("logs").join(format!("{name}.log"));
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = |line: &str| {
            // A time, the stream, whether the line is whole, and the text.
            let mut parts = line.splitn(4, ' ').skip(1);
            let (stream, whole) = (parts.next().unwrap(), parts.next().unwrap());
            assert!(["F", "P"].contains(&whole), "{line}");
            (stream.to_owned(), parts.next().unwrap_or_default().to_owned())
        };
        text.lines().map(line).collect()
    }
}

/// A 64-bit number, which JSON has as text, and leaves out where it is 0.
pub(crate) fn number(value: &Value) -> u64 {
    value["value"].as_str().map_or(0, |text| text.parse().unwrap())
}

/// The interface, as its own language says it.
fn messages() -> FileDescriptor {
    let folder = root().join("tests/suite/containerd");
    let mut parser = protobuf_parse::Parser::new();
    parser.pure().include(&folder).input(folder.join("cri.proto"));
    let files = parser.file_descriptor_set().unwrap().file;
    FileDescriptor::new_dynamic(files.into_iter().next_back().unwrap(), &[]).unwrap()
}

/// The size of what stands before a message: whether it is compressed, and how long it is.
fn head_size() -> usize {
    1 + size_of::<u32>()
}

fn id_in(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Puts what is in one object into another one, also in the objects that it has.
fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (name, value) in more {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (into, value) => *into = value,
    }
}
