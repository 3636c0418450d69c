//! The task API of containerd, of its versions 2 and 3: the same calls under two names.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use async_trait::async_trait;
use containerd_shim_protos::api;
use containerd_shim_protos::api::Empty;
use containerd_shim_protos::shim_async::Task;
use containerd_shim_protos::shim_async::create_task;
use containerd_shim_protos::ttrpc;
use containerd_shim_protos::ttrpc::asynchronous::Service as Methods;
use containerd_shim_protos::ttrpc::asynchronous::TtrpcContext;

use super::desk::Desk;
use super::failure::Failure;
use super::tasks::Tasks;

/// The names of the service.
const V2: &str = "containerd.task.v2.Task";
const V3: &str = "containerd.task.v3.Task";

/// The service, under both names.
pub(super) fn services(desk: &Desk) -> HashMap<String, Methods> {
    let methods = || {
        let service = Arc::new(Service { desk: desk.clone() });
        create_task(service).into_values()
    };
    let newer = methods().map(|methods| (V3.to_owned(), methods));
    let older = methods().map(|methods| (V2.to_owned(), methods));
    newer.chain(older).collect()
}

/// Who brings calls to the desk.
struct Service {
    desk: Desk,
}

#[async_trait]
impl Task for Service {
    async fn state(
        &self,
        _: &TtrpcContext,
        request: api::StateRequest,
    ) -> ttrpc::Result<api::StateResponse> {
        let call = |tasks: Rc<Tasks>| async move { tasks.state(&request.id, &request.exec_id) };
        self.desk.ask(call).await
    }

    async fn create(
        &self,
        _: &TtrpcContext,
        request: api::CreateTaskRequest,
    ) -> ttrpc::Result<api::CreateTaskResponse> {
        self.desk.ask(|tasks| tasks.create(request)).await
    }

    async fn start(
        &self,
        _: &TtrpcContext,
        request: api::StartRequest,
    ) -> ttrpc::Result<api::StartResponse> {
        self.desk.ask(|tasks| tasks.start(request)).await
    }

    async fn delete(
        &self,
        _: &TtrpcContext,
        request: api::DeleteRequest,
    ) -> ttrpc::Result<api::DeleteResponse> {
        self.desk.ask(|tasks| async move { tasks.delete(&request).await }).await
    }

    async fn pids(
        &self,
        _: &TtrpcContext,
        request: api::PidsRequest,
    ) -> ttrpc::Result<api::PidsResponse> {
        self.desk.ask(|tasks| async move { tasks.pids(&request.id) }).await
    }

    async fn pause(&self, _: &TtrpcContext, request: api::PauseRequest) -> ttrpc::Result<Empty> {
        let paused = self.desk.ask(|tasks| async move { tasks.pause(&request.id).await }).await;
        paused.map(|()| Empty::default())
    }

    async fn resume(&self, _: &TtrpcContext, request: api::ResumeRequest) -> ttrpc::Result<Empty> {
        let resumed = self.desk.ask(|tasks| async move { tasks.resume(&request.id).await }).await;
        resumed.map(|()| Empty::default())
    }

    async fn checkpoint(
        &self,
        _: &TtrpcContext,
        _: api::CheckpointTaskRequest,
    ) -> ttrpc::Result<Empty> {
        Err(Failure::unimplemented("a guest cannot be written down and go on elsewhere").into())
    }

    async fn kill(&self, _: &TtrpcContext, request: api::KillRequest) -> ttrpc::Result<Empty> {
        let killed = self.desk.ask(|tasks| async move { tasks.kill(&request).await }).await;
        killed.map(|()| Empty::default())
    }

    async fn exec(
        &self,
        _: &TtrpcContext,
        request: api::ExecProcessRequest,
    ) -> ttrpc::Result<Empty> {
        let added = self.desk.ask(|tasks| async move { tasks.exec(&request) }).await;
        added.map(|()| Empty::default())
    }

    async fn resize_pty(
        &self,
        _: &TtrpcContext,
        request: api::ResizePtyRequest,
    ) -> ttrpc::Result<Empty> {
        let resized = self.desk.ask(|tasks| async move { tasks.resize(&request) }).await;
        resized.map(|()| Empty::default())
    }

    async fn close_io(
        &self,
        _: &TtrpcContext,
        request: api::CloseIORequest,
    ) -> ttrpc::Result<Empty> {
        let closed = self.desk.ask(|tasks| async move { tasks.close_io(&request) }).await;
        closed.map(|()| Empty::default())
    }

    async fn update(
        &self,
        _: &TtrpcContext,
        request: api::UpdateTaskRequest,
    ) -> ttrpc::Result<Empty> {
        let updated = self.desk.ask(|tasks| async move { tasks.update(&request).await }).await;
        updated.map(|()| Empty::default())
    }

    async fn wait(
        &self,
        _: &TtrpcContext,
        request: api::WaitRequest,
    ) -> ttrpc::Result<api::WaitResponse> {
        let call =
            |tasks: Rc<Tasks>| async move { tasks.wait(&request.id, &request.exec_id).await };
        self.desk.ask_while_heard(call).await
    }

    async fn stats(
        &self,
        _: &TtrpcContext,
        request: api::StatsRequest,
    ) -> ttrpc::Result<api::StatsResponse> {
        self.desk.ask(|tasks| async move { tasks.stats(&request.id) }).await
    }

    async fn connect(
        &self,
        _: &TtrpcContext,
        request: api::ConnectRequest,
    ) -> ttrpc::Result<api::ConnectResponse> {
        self.desk.ask(|tasks| async move { Ok(tasks.connect(&request.id)) }).await
    }

    async fn shutdown(&self, _: &TtrpcContext, _: api::ShutdownRequest) -> ttrpc::Result<Empty> {
        let call = |tasks: Rc<Tasks>| async move {
            tasks.shutdown();
            Ok(Empty::default())
        };
        self.desk.ask(call).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_have_all_calls() {
        let (desk, _calls) = Desk::new();
        let services = services(&desk);
        for name in [V2, V3] {
            let methods = &services[name].methods;
            assert_eq!(methods.len(), 17, "{name}");
            for method in ["Create", "ResizePty", "CloseIO", "Checkpoint", "Shutdown"] {
                assert!(methods.contains_key(method), "{name}/{method}");
            }
        }
        assert_eq!(services.len(), 2);
    }
}
