//! The database: its schema, version, clock, certificate and keys, and whether it takes changes.

use pp_cli::config::{DatabaseArgs, DatabaseUrl};
use pp_cli::connect::{self, Schema};
use pp_lib::domain::{KeyInfo, Scope};
use pp_lib::store::AnyStore;
use pp_lib::store::postgres::Encryption;
use pp_lib::tls::Trust;
use serde_json::Value;

use super::tls::Place;
use super::{Checked, Doctor, Kinds, clock, is_at_least, kinds, tls};

/// The oldest version that PP is tested with.
const POSTGRESQL: (u32, u32) = (15, 0);
const PORT: u16 = 5432;

impl Doctor {
    /// Looks at the database, and reads the kinds unless they are known.
    pub(super) async fn look_at_database(
        &self,
        checked: &mut Checked,
        address: &DatabaseUrl,
        args: &DatabaseArgs,
        known_kinds: &mut Kinds,
    ) {
        let mut args = args.clone();
        args.pool = 1;
        args.timeout = args.timeout.min(self.timeout);
        let store = match connect::store(address, &args, &self.trust, Schema::Check, self.timeout).await {
            Ok(store) => store,
            Err(error) if error.is_unavailable() => {
                let advice = "start it, or name another one with PP_DATABASE_URL";
                return checked.unavailable("database", error.to_string(), advice);
            }
            Err(error) => {
                let advice = "`pp_storage migrate` makes and updates the schema; a newer one needs newer programs";
                return checked.wrong("database", error.to_string(), advice);
            }
        };
        if !about(checked, &store).await {
            return;
        }
        match address {
            DatabaseUrl::Sqlite(_) => {}
            DatabaseUrl::Postgres(url) => self.encryption(checked, url.expose()),
            DatabaseUrl::Pooled { url, .. } => {
                checked.ok(
                    "pooler",
                    "PP_DATABASE_URL and PP_DATABASE_DIRECT_URL lead to one database",
                );
                self.encryption(checked, url.expose());
            }
        }
        writes(checked, &store).await;
        match store.keys().await {
            Ok(all) => keys(checked, &all),
            Err(error) => checked.wrong("keys", error.to_string(), "look at the log of the database"),
        }
        if known_kinds.is_none()
            && let Ok(known) = pp_lib::kinds::list(&store).await
        {
            let shown = known.iter().map(|kind| serde_json::to_value(kind).unwrap_or_default());
            let mut shown: Vec<Value> = shown.collect();
            for kind in &mut shown {
                if let Some(name) = kinds::pending(kind)
                    && let Ok(stats) = store.stats(Some(&name)).await
                {
                    kinds::leave_out_scheduled(kind, &stats);
                }
            }
            *known_kinds = Some(shown);
        }
    }

    /// Reports the certificate of PostgreSQL, if connections use TLS.
    fn encryption(&self, checked: &mut Checked, url: &str) {
        let uses_tls = Encryption::of(url).is_ok_and(|encryption| encryption.mode().is_required());
        match Place::of(url, PORT) {
            Some(place) if uses_tls => {
                tls::report(checked, "database TLS", &place, true, &Trust::default(), self.timeout);
            }
            Some(place) if !place.is_loopback() => checked.note(
                "database TLS",
                "connections need no TLS",
                "add ?sslmode=verify-full to PP_DATABASE_URL on a network that you do not trust",
            ),
            _ => {}
        }
    }
}

/// Reports version and clock. False if there is no answer.
async fn about(checked: &mut Checked, store: &AnyStore) -> bool {
    let began = clock::now_ms();
    let about = match store.about().await {
        Ok(about) => about,
        Err(error) => {
            checked.unavailable("database", error.to_string(), "look at the log of the database");
            return false;
        }
    };
    let ended = clock::now_ms();
    let found = format!("{} {}, with the schema of this program", about.system, about.version);
    match about.system != "PostgreSQL" || is_at_least(&about.version, POSTGRESQL) {
        true => checked.ok("database", found),
        false => checked.wrong(
            "database",
            found,
            "upgrade it: PP is tested with PostgreSQL 15 and later",
        ),
    }
    let told = (about.now_ms, about.now_ms);
    clock::report(checked, "database clock", clock::ahead_ms(told, (began, ended)));
    true
}

async fn writes(checked: &mut Checked, store: &AnyStore) {
    match store.check_writes().await {
        Ok(()) => checked.ok("database writes", "it takes changes"),
        Err(error) => checked.wrong(
            "database writes",
            error.to_string(),
            "it is read-only, full or damaged, or a right is missing; see docs/operating.md, Health checks",
        ),
    }
}

fn keys(checked: &mut Checked, all: &[KeyInfo]) {
    let valid: Vec<&KeyInfo> = all.iter().filter(|key| key.revoked_on.is_none()).collect();
    let admins = valid.iter().filter(|key| key.scopes.allow(&Scope::Admin)).count();
    let make = "make one: cli_01 key create --name admin --scopes admin --call-type db";
    match (valid.len(), admins) {
        (0, _) => checked.note("keys", "there is none: an API on loopback lets everybody in", make),
        (valid, 0) => checked.wrong("keys", format!("{valid} valid, none with the scope admin"), make),
        (valid, admins) => checked.ok("keys", format!("{valid} valid, {admins} with the scope admin")),
    }
}
