//! Servers with SQLite in a temporary folder.

use std::sync::Arc;
use std::time::Duration;

use pp_backend_api::Config;
use pp_lib::serving::StoreOptions;
use pp_lib::store::AnyStore;
use pp_lib::store::sqlite::SqliteStore;
use pp_lib::streams::StreamsOptions;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::server::{CONFIG, Server};

/// A server, and the folder that is removed after it.
pub(crate) struct Embedded {
    server: Server,
    _folder: TempDir,
}

impl std::ops::Deref for Embedded {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl std::ops::DerefMut for Embedded {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

pub(crate) fn server() -> Embedded {
    server_with(CONFIG)
}

pub(crate) fn server_with(config: Config) -> Embedded {
    server_with_streams(config, StreamsOptions::default())
}

pub(crate) fn server_with_streams(config: Config, streams: StreamsOptions) -> Embedded {
    let (folder, runtime, store) = sqlite();
    let server = Server::start_with_streams(runtime, store, config, StoreOptions::default(), streams);
    Embedded {
        server,
        _folder: folder,
    }
}

/// A store in a temporary folder, and the runtime that opened it.
pub(crate) fn sqlite() -> (TempDir, Runtime, AnyStore) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let path = folder.path().join("pp.sqlite");
    let store = runtime.block_on(async {
        let store = SqliteStore::open(path.to_str().unwrap(), 2, Duration::from_secs(5)).unwrap();
        store.migrate().await.unwrap();
        Arc::new(store)
    });
    (folder, runtime, store)
}
