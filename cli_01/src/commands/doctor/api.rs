//! The API: its parts, version, clock, certificate, and who may use it.

use pp_lib::access::ApiKey;
use pp_lib::store::LetterFilter;
use serde_json::Value;

use super::tls::Place;
use super::{Checked, Doctor, Kinds, clock, kinds, tls};
use crate::commands::Works as _;
use crate::failure::{Failure, one_line};
use crate::http::{Api, Raw};

const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Doctor {
    /// Looks at the API, and reads the kinds if it may. A wrong address is an error.
    pub(super) fn look_at_api(
        &self,
        checked: &mut Checked,
        url: &str,
        key: Option<&ApiKey>,
        known_kinds: &mut Kinds,
    ) -> Result<(), Failure> {
        let api = Api::new(url, key, &self.trust, self.timeout)?;
        let began = clock::now_ms();
        let ready = match api.raw("/health/ready") {
            Ok(ready) => ready,
            Err(why) => {
                let advice = "start pp_backend_api or pp_standalone, or name another address with PP_API_URL";
                checked.unavailable("API", why.to_string(), advice);
                return Ok(());
            }
        };
        let ended = clock::now_ms();
        if !health(checked, &api, &ready) {
            return Ok(());
        }
        version(checked, &api);
        if let Some(date) = ready.date {
            let told = (date * 1000, date * 1000 + 999);
            clock::report(checked, "API clock", clock::ahead_ms(told, (began, ended)));
        }
        let place = Place::of(api.base(), 80);
        if let Some(place) = place.as_ref().filter(|_| api.base().starts_with("https://")) {
            tls::report(checked, "API TLS", place, false, &self.trust, self.timeout);
        }
        let is_loopback = place.is_some_and(|place| place.is_loopback());
        if access(checked, &api, key.is_some(), is_loopback) {
            *known_kinds = api.kinds().ok();
            for kind in known_kinds.iter_mut().flatten() {
                if let Some(name) = kinds::pending(kind)
                    && let Ok(stats) = api.stats(Some(&name))
                {
                    kinds::leave_out_scheduled(kind, &stats);
                }
            }
            letters(checked, &api);
        }
        Ok(())
    }
}

fn text(value: &Value) -> String {
    one_line(value.as_str().unwrap_or_default())
}

/// Reports every part that is not up. False if it is no API of PP.
fn health(checked: &mut Checked, api: &Api, ready: &Raw) -> bool {
    let Some(parts) = ready.body["parts"].as_array() else {
        let found = format!("{} answers {} like no API of PP", api.base(), ready.status);
        checked.wrong("API", found, "name the address of the API with PP_API_URL");
        return false;
    };
    match ready.status {
        200 => checked.ok("API", format!("{} is ready", api.base())),
        status => checked.wrong(
            "API",
            format!("{} is not ready ({status})", api.base()),
            "see its parts below, and its log",
        ),
    }
    for part in parts.iter().filter(|part| part["state"] != "up") {
        let check = format!("API {}", text(&part["name"]));
        let found = format!("{}: {}", text(&part["state"]), text(&part["reason"]));
        match part["state"] == "starting" {
            true => checked.note(&check, found, "ask again in a moment"),
            false => checked.wrong(&check, found, "look at that server and at the log of the API"),
        }
    }
    true
}

fn version(checked: &mut Checked, api: &Api) {
    let Ok(index) = api.raw("/") else { return };
    match index.body["version"].as_str() {
        Some(VERSION) => checked.ok("API version", format!("{VERSION}, as here")),
        Some(other) => checked.note(
            "API version",
            format!("{}, and {VERSION} here", one_line(other)),
            "use programs of one version, except while you upgrade",
        ),
        None => {}
    }
}

/// Reports who may use the API. True if it may be asked further.
fn access(checked: &mut Checked, api: &Api, with_key: bool, is_loopback: bool) -> bool {
    const KEYS: &str = "API keys";
    let asked = match api.raw("/work/search?limit=1") {
        Ok(asked) => asked,
        Err(why) => {
            checked.unavailable(KEYS, why.to_string(), "look at the log of the API");
            return false;
        }
    };
    let make = "make one: cli_01 key create --name admin --scopes admin";
    match (asked.status, with_key, is_loopback) {
        (200, true, _) => checked.ok(KEYS, "this one may read"),
        (200, false, true) => checked.note(
            KEYS,
            "none is asked for: every program of this machine may do everything",
            make,
        ),
        (200, false, false) => {
            let advice = format!("{make}, and start the API without PP_AUTH=off");
            checked.wrong(
                KEYS,
                "none is asked for: everybody who reaches the API may do everything",
                advice,
            );
        }
        (401, false, _) => {
            let advice = "name a file with one: --key-file, or PP_API_KEY_FILE";
            checked.wrong(KEYS, "the API asks for one, and none is given", advice);
        }
        (401, true, _) => checked.wrong(KEYS, "this one is not valid: it is mistyped or was revoked", make),
        (403, ..) => checked.note(
            KEYS,
            "this one may not read, so kinds and dead letters were not looked at",
            "use one with the scope read",
        ),
        (status, ..) => checked.wrong(
            KEYS,
            format!("a search is answered with {status}: {}", text(&asked.body["detail"])),
            "look at the log of the API",
        ),
    }
    asked.status == 200
}

fn letters(checked: &mut Checked, api: &Api) {
    let all = LetterFilter {
        kind: None,
        error: None,
    };
    if let Ok(newest) = api.dead_letters(&all, None, 1)
        && let Some(letter) = newest.first()
    {
        checked.note(
            "dead letters",
            format!("there are some; the newest one: {}", one_line(&letter.reason)),
            "see `cli_01 deadletter list`, then redrive or drop them",
        );
    }
}
