//! A PostgreSQL database of its own for each test that wants one.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio_postgres::{Client, NoTls};
use url::Url;

/// An empty database; dropped with this, whoever is still connected.
pub(crate) struct Database {
    name: String,
    /// Where it is.
    pub(crate) url: String,
}

impl Database {
    pub(crate) async fn create() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("pp_lib_{}_{number}", std::process::id());
        let mut url = server();
        let admin = connect(url.as_str()).await;
        // The process id of a test run that was killed may come back.
        admin
            .batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
            .await
            .unwrap();
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        url.set_path(&name);
        Self {
            name,
            url: url.to_string(),
        }
    }

    /// A connection beside those of what is tested.
    pub(crate) async fn client(&self) -> Client {
        connect(&self.url).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // A runtime of its own: the test's may be on its way out.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async { connect(server().as_str()).await.batch_execute(&drop).await })
        });
        if !std::thread::panicking() {
            dropped.join().unwrap().unwrap();
        }
    }
}

fn server() -> Url {
    let url = std::env::var("PP_TEST_POSTGRES_URL")
        .expect("PP_TEST_POSTGRES_URL is not set: `make test` starts a PostgreSQL server and sets it");
    url.parse().expect("PP_TEST_POSTGRES_URL is no URL")
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
