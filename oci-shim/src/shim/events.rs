//! What happens to containers, told to containerd in its order.
//!
//! An event that was taken down is told, as soon as containerd can be reached: it may be restarted, and
//! would never learn of an end otherwise. No call waits for that.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;
use std::time::SystemTime;

use containerd_shim_protos::api::ForwardRequest;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim_async::Client;
use containerd_shim_protos::shim_async::EventsClient;
use containerd_shim_protos::ttrpc;
use containerd_shim_protos::ttrpc::asynchronous::transport::Socket;
use tokio::net::UnixStream;
use tokio::sync::Notify;

use super::address;
use super::log::Log;
use super::process::stamp;

/// How many events wait for containerd at the most: a pod of a hundred containers and their whole lives,
/// several times over. The oldest give way.
const WAITING_MAX: usize = 4096;

/// How long one may take to be heard.
const HEARD_MAX: Duration = Duration::from_secs(5);

/// The first and the longest time between two tries.
const TRIES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// How often one is told that containerd does not take.
const REFUSALS_MAX: u32 = 5;

/// What the names of events begin with.
const PACKAGE: &str = "containerd.events";

/// Who tells containerd.
#[derive(Debug)]
pub(super) struct Publisher {
    namespace: String,
    log: Rc<Log>,
    waiting: RefCell<VecDeque<Envelope>>,
    /// Something waits, or nothing does any more.
    changed: Notify,
}

impl Publisher {
    /// One that has heard nothing yet.
    pub(super) fn new(namespace: &str, log: &Rc<Log>) -> Rc<Self> {
        Rc::new(Self {
            namespace: namespace.to_owned(),
            log: Rc::clone(log),
            waiting: RefCell::default(),
            changed: Notify::new(),
        })
    }

    /// Takes down what happened.
    pub(super) fn publish<M: Message>(&self, topic: &str, event: &M) {
        let Ok(value) = event.write_to_bytes() else {
            self.log.error(&format!("an event cannot be told: {topic}"));
            return;
        };
        let event = Any { type_url: format!("{PACKAGE}.{}", M::NAME), value, ..Any::default() };
        let envelope = Envelope {
            timestamp: stamp(SystemTime::now()),
            namespace: self.namespace.clone(),
            topic: topic.to_owned(),
            event: MessageField::some(event),
            ..Envelope::default()
        };
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() == WAITING_MAX {
            // The first one may be on its way just now.
            let lost = waiting.remove(1).map(|lost| lost.topic).unwrap_or_default();
            self.log.error(&format!("an event is lost, too many wait for containerd: {lost}"));
        }
        waiting.push_back(envelope);
        self.changed.notify_waiters();
    }

    /// Tells containerd, which takes events at this address, for ever.
    pub(super) async fn tell(self: Rc<Self>, address: String) {
        let mut client = None;
        let mut pause = TRIES.0;
        let mut refusals = 0;
        loop {
            let changed = self.changed.notified();
            let Some(envelope) = self.waiting.borrow().front().cloned() else {
                changed.await;
                continue;
            };
            let topic = envelope.topic.clone();
            match self.forward(&mut client, &address, envelope).await {
                Ok(()) => {
                    self.done();
                    (pause, refusals) = (TRIES.0, 0);
                    continue;
                }
                Err(ttrpc::Error::RpcStatus(status)) if refusals < REFUSALS_MAX => {
                    refusals += 1;
                    self.log.error(&format!("containerd refuses {topic}: {}", status.message()));
                }
                Err(ttrpc::Error::RpcStatus(_)) => {
                    refusals = 0;
                    self.done();
                }
                // It is being restarted.
                Err(_) => client = None,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(TRIES.1);
        }
    }

    async fn forward(
        &self,
        client: &mut Option<EventsClient>,
        address: &str,
        envelope: Envelope,
    ) -> ttrpc::Result<()> {
        let failed = |error: std::io::Error| ttrpc::Error::Socket(error.to_string());
        let connected = if let Some(client) = client {
            client
        } else {
            let connecting = UnixStream::connect(address::path_of(address));
            let stream = tokio::time::timeout(HEARD_MAX, connecting).await;
            let stream = stream.map_err(|_| ttrpc::Error::Socket("no answer".to_owned()))?;
            let stream = Socket::from(stream.map_err(failed)?);
            client.insert(EventsClient::new(Client::new(stream)))
        };
        let limit = i64::try_from(HEARD_MAX.as_nanos()).unwrap_or(i64::MAX);
        let context = ttrpc::context::with_timeout(limit);
        let request =
            ForwardRequest { envelope: MessageField::some(envelope), ..ForwardRequest::default() };
        let told = tokio::time::timeout(HEARD_MAX, connected.forward(context, &request)).await;
        told.map_err(|_| ttrpc::Error::Socket("no answer".to_owned()))?.map(|_empty| ())
    }

    fn done(&self) {
        self.waiting.borrow_mut().pop_front();
        self.changed.notify_waiters();
    }

    /// Waits until all was told, or this much time is over.
    pub(super) async fn flush(&self, limit: Duration) {
        let all = async {
            loop {
                let changed = self.changed.notified();
                if self.waiting.borrow().is_empty() {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(limit, all).await.is_err() {
            let count = self.waiting.borrow().len();
            self.log.error(&format!("{count} events were not heard by containerd"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::Mutex;

    use containerd_shim_protos::api::Empty;
    use containerd_shim_protos::events::task::TaskExit;
    use containerd_shim_protos::events::task::TaskStart;
    use containerd_shim_protos::shim_async::Events;
    use containerd_shim_protos::shim_async::create_events;
    use containerd_shim_protos::ttrpc::asynchronous::Server;
    use containerd_shim_protos::ttrpc::asynchronous::TtrpcContext;

    use super::*;

    #[derive(Clone, Default)]
    struct Ear(Arc<Mutex<Vec<(String, String, u32)>>>);

    #[async_trait::async_trait]
    impl Events for Ear {
        async fn forward(&self, _: &TtrpcContext, request: ForwardRequest) -> ttrpc::Result<Empty> {
            let envelope = request.envelope.unwrap();
            let pid = TaskStart::parse_from_bytes(&envelope.event.value).unwrap().pid;
            let heard = (envelope.topic, envelope.event.type_url.clone(), pid);
            self.0.lock().unwrap().push(heard);
            Ok(Empty::default())
        }
    }

    async fn listen(path: &Path, ear: &Ear) -> Server {
        let services = create_events(Arc::new(ear.clone()));
        let address = format!("unix://{}", path.display());
        let mut server = Server::new().bind(&address).unwrap().register_service(services);
        server.start().await.unwrap();
        server
    }

    fn start(pid: u32) -> TaskStart {
        TaskStart { pid, ..TaskStart::default() }
    }

    #[tokio::test]
    async fn events_are_told_in_their_order_also_to_one_who_comes_late_or_goes_away() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let dir = tempfile::tempdir().unwrap();
                let path = dir.path().join("events");
                let log = Rc::new(Log::open(dir.path(), "default", "web"));
                let publisher = Publisher::new("default", &log);
                let address = path.display().to_string();
                tokio::task::spawn_local(Rc::clone(&publisher).tell(address));
                // Nobody listens yet.
                publisher.publish("/tasks/start", &start(1));
                publisher.flush(Duration::from_millis(20)).await;
                let ear = Ear::default();
                let mut server = listen(&path, &ear).await;
                publisher.flush(Duration::from_secs(20)).await;
                server.shutdown().await.unwrap();
                drop(server);
                std::fs::remove_file(&path).unwrap();
                for pid in 2..50 {
                    publisher.publish("/tasks/start", &start(pid));
                }
                publisher.publish("/tasks/exit", &TaskExit::default());
                let _server = listen(&path, &ear).await;
                publisher.flush(Duration::from_secs(20)).await;
                let mut heard = ear.0.lock().unwrap().clone();
                let last = heard.pop().unwrap();
                assert_eq!(
                    (last.0.as_str(), last.1.as_str()),
                    ("/tasks/exit", "containerd.events.TaskExit")
                );
                let pids: Vec<u32> = heard.iter().map(|(_, _, pid)| *pid).collect();
                assert_eq!(pids, (1..50).collect::<Vec<_>>());
            })
            .await;
    }

    #[tokio::test]
    async fn no_more_events_wait_than_there_is_room_for_and_the_newest_stay() {
        let dir = tempfile::tempdir().unwrap();
        let log = Rc::new(Log::open(dir.path(), "default", "web"));
        let publisher = Publisher::new("default", &log);
        for pid in 0..=u32::try_from(WAITING_MAX).unwrap() {
            publisher.publish("/tasks/start", &start(pid));
        }
        let waiting = publisher.waiting.borrow();
        assert_eq!(waiting.len(), WAITING_MAX);
        let last = &waiting.back().unwrap().event.value;
        let last = TaskStart::parse_from_bytes(last).unwrap().pid;
        assert_eq!(last, u32::try_from(WAITING_MAX).unwrap());
    }
}
