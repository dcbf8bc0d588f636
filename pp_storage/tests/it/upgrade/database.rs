//! The two databases of an upgrade: how each is migrated step by step, and what its schema is.

use std::error::Error;
use std::time::Duration;

use diesel::connection::LoadConnection;
use diesel::migration::{Migration, MigrationSource};
use diesel::pg::PgConnection;
use diesel::sql_types::Text;
use diesel::sqlite::SqliteConnection;
use diesel::{QueryableByName, RunQueryDsl as _, sql_query};
use diesel_migrations::{FileBasedMigrations, MigrationHarness};
use pp_storage::SchemaError;

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

/// A connection to one of the databases.
pub(super) trait Database: LoadConnection + MigrationHarness<Self::Backend> + Sized {
    /// The folder with its migrations.
    const FOLDER: &'static str;

    /// Words of the statements below, and what they are in its SQL.
    const WORDS: [(&'static str, &'static str); 6];

    /// Migrates as the programs do; returns the names of applied migrations.
    fn migrate(&mut self) -> Result<Vec<String>, SchemaError>;

    /// The texts in the column `line`.
    fn lines(&mut self, sql: &str) -> Vec<String>;

    /// Columns, constraints and indexes of works and dead letters.
    fn schema(&mut self) -> Vec<String>;

    fn run(&mut self, sql: &str) {
        let mut sql = sql.to_owned();
        for (word, meaning) in Self::WORDS {
            sql = sql.replace(word, meaning);
        }
        self.batch_execute(&sql).unwrap();
    }

    fn count(&mut self, of: &str) -> i64 {
        let count = self.lines(&format!("SELECT CAST(count(*) AS text) AS line FROM {of}"));
        count[0].parse().unwrap()
    }

    /// The migrations in the repository, in their order.
    fn migrations() -> Vec<Box<dyn Migration<Self::Backend>>> {
        let source = FileBasedMigrations::from_path(Self::FOLDER).unwrap();
        let mut migrations = MigrationSource::<Self::Backend>::migrations(&source).unwrap();
        migrations.sort_by_key(|migration| migration.name().version().as_owned());
        migrations
    }

    /// The versions of applied migrations, in their order.
    fn versions(&mut self) -> Vec<String> {
        let applied = self.applied_migrations().unwrap();
        let mut versions: Vec<String> = applied.iter().map(ToString::to_string).collect();
        versions.sort();
        versions
    }

    /// Applies missing migrations up to this version, and nothing beside them.
    fn up_to(&mut self, last: &str) {
        let applied = self.versions();
        for migration in Self::migrations() {
            let version = migration.name().version().to_string();
            if version.as_str() <= last && !applied.contains(&version) {
                self.run_migration(&*migration).unwrap();
            }
        }
    }

    /// Takes back the newest migrations down to this version.
    fn down_to(&mut self, last: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
        let applied = self.versions();
        for migration in Self::migrations().iter().rev() {
            let version = migration.name().version().to_string();
            if version.as_str() > last && applied.contains(&version) {
                self.revert_migration(&**migration)?;
            }
        }
        Ok(())
    }
}

impl Database for PgConnection {
    const FOLDER: &'static str = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres");

    const WORDS: [(&'static str, &'static str); 6] = [
        ("EPOCH", "timestamptz '2026-01-01 00:00:00Z'"),
        ("STEP", "interval '1.000001 seconds'"),
        ("ORIGIN", "work_origin"),
        ("STATUS", "work_status"),
        ("VARIABLE", "event_variable"),
        ("BYTES", "bytea"),
    ];

    fn migrate(&mut self) -> Result<Vec<String>, SchemaError> {
        pp_storage::migrate_postgres(self, Duration::from_secs(10), &mut |_| {})
    }

    fn lines(&mut self, sql: &str) -> Vec<String> {
        let lines: Vec<Line> = sql_query(sql).load(self).unwrap();
        lines.into_iter().map(|line| line.line).collect()
    }

    fn schema(&mut self) -> Vec<String> {
        self.lines(
            "SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default, collation_name) AS line
            FROM information_schema.columns WHERE table_name IN ('works', 'dead_letters')
            UNION ALL
            SELECT concat_ws(' ', conname, convalidated, pg_get_constraintdef(oid)) FROM pg_constraint
            WHERE conrelid IN ('works'::regclass, 'dead_letters'::regclass)
            UNION ALL
            SELECT indexdef FROM pg_indexes WHERE tablename IN ('works', 'dead_letters')
            ORDER BY 1",
        )
    }
}

impl Database for SqliteConnection {
    const FOLDER: &'static str = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite");

    const WORDS: [(&'static str, &'static str); 6] = [
        ("EPOCH", "1767225600000"),
        ("STEP", "1001"),
        ("ORIGIN", "text"),
        ("STATUS", "text"),
        ("VARIABLE", "text"),
        ("BYTES", "blob"),
    ];

    fn migrate(&mut self) -> Result<Vec<String>, SchemaError> {
        pp_storage::migrate_sqlite(self)
    }

    fn lines(&mut self, sql: &str) -> Vec<String> {
        let lines: Vec<Line> = sql_query(sql).load(self).unwrap();
        lines.into_iter().map(|line| line.line).collect()
    }

    fn schema(&mut self) -> Vec<String> {
        let mut schema = self.lines(
            "SELECT tables.name || ' ' || columns.name || ' ' || type || ' ' || \"notnull\" || ' ' || pk || ' '
                || coalesce(dflt_value, '') AS line
             FROM (SELECT 'works' AS name UNION ALL SELECT 'dead_letters') AS tables
             CROSS JOIN pragma_table_info(tables.name) AS columns
             UNION ALL
             SELECT sql FROM sqlite_master
             WHERE type = 'index' AND tbl_name IN ('works', 'dead_letters') AND sql IS NOT NULL
             ORDER BY 1",
        );
        // Definitions in any order: columns that were added later stand at the end of the others.
        let tables = "SELECT sql AS line FROM sqlite_master WHERE name IN ('works', 'dead_letters') ORDER BY name";
        for table in self.lines(tables) {
            let (_, definitions) = table.split_once('(').unwrap();
            let words = |part: &str| part.split_whitespace().collect::<Vec<_>>().join(" ");
            schema.extend(definitions.split(',').map(words));
        }
        schema.sort();
        schema
    }
}
