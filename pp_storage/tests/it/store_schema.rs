//! `pp_storage migrate`: its changes and its output.

use std::process::Command;

/// The exit code, standard output and standard error.
fn migrate(url: Option<&str>) -> (i32, String, String) {
    run(&["migrate"], url)
}

pub(crate) fn run(args: &[&str], url: Option<&str>) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pp_storage"));
    command.args(args).env_remove("PP_DATABASE_URL");
    if let Some(url) = url {
        command.env("PP_DATABASE_URL", url);
    }
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The output after applying all migrations in order.
fn all_applied() -> String {
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres")).unwrap();
    let mut names: Vec<String> = folder
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names.into_iter().map(|name| format!("applied {name}\n")).collect()
}

mod embedded {
    use diesel::Connection as _;
    use diesel::sqlite::SqliteConnection;

    use super::{all_applied, migrate};

    #[test]
    fn a_file_gets_the_schema_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pp.sqlite").display().to_string();
        let url = format!("sqlite://{file}");
        assert_eq!(migrate(Some(&url)), (0, all_applied(), String::new()));
        let again = (0, "the schema was up to date\n".to_owned(), String::new());
        assert_eq!(migrate(Some(&url)), again);
        let mut connection = SqliteConnection::establish(&file).unwrap();
        pp_storage::check_sqlite(&mut connection).unwrap();
    }

    #[test]
    fn an_invalid_url_is_one_line_with_the_variable_without_the_password() {
        let urls = [
            (None, 2),
            (Some(""), 2),
            (Some("sqlite://"), 2),
            (Some("sqlite:///no/such/folder/pp.sqlite"), 1),
            (Some("mysql://pp:s3cret@localhost/pp"), 2),
            (Some("postgres://pp:s3cret@127.0.0.1:1/pp"), 1),
            (Some("postgres://pp:s3cr%zzet@localhost/pp"), 1),
            (Some("postgres://pp:s3cret@localhost:notaport/pp"), 1),
        ];
        for (url, expected) in urls {
            let (code, out, said) = migrate(url);
            assert_eq!((code, out.as_str()), (expected, ""), "{url:?}");
            assert!(
                said.starts_with("error: PP_DATABASE_URL: ") && said.lines().count() == 1 && !said.contains("s3cr"),
                "{said}"
            );
        }
    }
}

pub(crate) mod on_servers {
    use diesel::Connection as _;
    use diesel::connection::SimpleConnection as _;
    use diesel::pg::PgConnection;
    use url::Url;

    use super::{all_applied, migrate};

    fn server() -> Url {
        let url = std::env::var("PP_TEST_POSTGRES_URL")
            .expect("PP_TEST_POSTGRES_URL is not set: `make test` starts a PostgreSQL server and sets it");
        url.parse().unwrap()
    }

    /// A database that does not exist yet. Dropping this value drops the database.
    pub(crate) struct Missing {
        name: String,
        pub(crate) url: Url,
    }

    impl Missing {
        pub(crate) fn new(what: &str) -> Self {
            // The name must be quoted to keep its case.
            let name = format!("pp_Storage_{what}_{}", std::process::id());
            let mut url = server();
            url.set_path(&name);
            let missing = Self { name, url };
            missing.drop_database().unwrap();
            missing
        }

        /// Creates the empty database.
        pub(crate) fn create(&self) {
            let create = format!("CREATE DATABASE \"{}\"", self.name);
            PgConnection::establish(server().as_str())
                .unwrap()
                .batch_execute(&create)
                .unwrap();
        }

        fn drop_database(&self) -> diesel::QueryResult<()> {
            let drop = format!("DROP DATABASE IF EXISTS \"{}\" WITH (FORCE)", self.name);
            PgConnection::establish(server().as_str()).unwrap().batch_execute(&drop)
        }
    }

    impl Drop for Missing {
        fn drop(&mut self) {
            let _ = self.drop_database();
        }
    }

    #[test]
    fn a_missing_database_is_created_and_gets_the_schema() {
        let missing = Missing::new("create");
        let created = format!("created the database {}\n{}", missing.name, all_applied());
        assert_eq!(migrate(Some(missing.url.as_str())), (0, created, String::new()));
        let again = (0, "the schema was up to date\n".to_owned(), String::new());
        assert_eq!(migrate(Some(missing.url.as_str())), again);
        let mut connection = PgConnection::establish(missing.url.as_str()).unwrap();
        pp_storage::check_postgres(&mut connection).unwrap();
    }

    #[test]
    fn concurrent_migrations_create_the_database_once() {
        let missing = Missing::new("at_once");
        let outputs: Vec<_> = std::thread::scope(|scope| {
            let running: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| migrate(Some(missing.url.as_str()))))
                .collect();
            running.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(outputs.iter().all(|(code, ..)| *code == 0), "{outputs:?}");
        let said = |text: &str| outputs.iter().filter(|(_, out, _)| out.contains(text)).count();
        assert_eq!(
            (said("created the database"), said("applied 0001_works")),
            (1, 1),
            "{outputs:?}"
        );
    }

    #[test]
    fn a_refused_login_is_reported_without_the_password() {
        let mut url = server();
        url.set_username("nobody_at_all").unwrap();
        url.set_password(Some("s3cret")).unwrap();
        let (code, _, said) = migrate(Some(url.as_str()));
        assert_eq!(code, 1);
        assert!(
            said.contains("nobody_at_all") && !said.contains("s3cret") && said.lines().count() == 1,
            "{said}"
        );
    }
}
