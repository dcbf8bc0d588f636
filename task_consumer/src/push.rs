//! The consumers of pushed kinds. They come and go with the declarations of the kinds.

use std::collections::HashMap;
use std::sync::Arc;

use pp_cli::config::RuntimeArgs;
use pp_lib::claims::Claims;
use pp_lib::domain::{KindName, WorkerName};
use pp_lib::kinds::{HandledKind, Registry};
use pp_lib::push::{Pusher, notice_declaration};
use pp_lib::runtime::{Part, supervise_part};
use pp_lib::worker::{ConsumeSettings, Consumer};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{Adapters, ConsumerArgs};

/// What all consumers of pushed kinds share.
#[derive(Clone)]
pub(crate) struct Pushes {
    pub(crate) adapters: Adapters,
    pub(crate) registry: Registry,
    pub(crate) claims: Claims,
    pub(crate) pusher: Pusher,
    pub(crate) worker: WorkerName,
    pub(crate) settings: ConsumeSettings,
}

/// The handler of pushed kinds. `None` where TLS has nothing to trust; then works wait for another process.
pub(crate) fn pusher(
    args: &ConsumerArgs,
    runtime: &RuntimeArgs,
    adapters: &Adapters,
    registry: &Registry,
) -> Option<Pusher> {
    let trust = runtime.tls.trust().map_err(|error| error.to_string());
    let pusher = trust.and_then(|trust| {
        let (store, allowed) = (adapters.store.clone(), args.push_allow.clone());
        Pusher::new(store, registry.clone(), allowed, &trust, runtime.args_limit).map_err(|error| error.to_string())
    });
    pusher
        .inspect_err(|error| log::error!("works are not pushed and nobody is told of finished ones: {error}"))
        .ok()
}

/// The kind of notices, for which this process has a handler.
pub(crate) fn notices(pusher: &Pusher) -> HandledKind {
    HandledKind {
        name: KindName::notice().clone(),
        declaration: notice_declaration(),
        handler: Arc::new(pusher.clone()),
    }
}

impl Pushes {
    /// Pushes works of all kinds that are pushed, until `shutdown` is cancelled and the works under way have ended.
    pub(crate) async fn run(self, part: Part, shutdown: CancellationToken) {
        let (tasks, mut running) = (TaskTracker::new(), HashMap::<KindName, CancellationToken>::new());
        part.up();
        while !shutdown.is_cancelled() {
            let pushed = self.registry.pushed();
            running.retain(|kind, stop| {
                let stays = pushed.contains(kind);
                if !stays {
                    stop.cancel();
                }
                stays
            });
            for kind in &pushed {
                running.entry(kind.clone()).or_insert_with(|| {
                    let stop = shutdown.child_token();
                    tasks.spawn(self.clone().consume(kind.clone(), part.clone(), stop.clone()));
                    stop
                });
            }
            shutdown
                .run_until_cancelled(self.registry.pushed_differ_from(&pushed))
                .await;
        }
        tasks.close();
        tasks.wait().await;
    }

    async fn consume(self, kind: KindName, part: Part, stop: CancellationToken) {
        supervise_part("pushes", part, stop, move |part, stop| {
            let Adapters { store, broker, feed } = self.adapters.clone();
            let handler = Arc::new(self.pusher.clone());
            Consumer::new(store, broker, feed, kind.clone(), handler, self.settings.clone())
                .following(self.registry.follow_pushed(kind.clone()))
                .named(self.worker.clone())
                .claiming(self.claims.clone())
                .run(part, stop)
        })
        .await;
    }
}
