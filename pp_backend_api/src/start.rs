//! The rules of a start: when keys are asked for, and where the first admin key comes from.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, bail};
use pp_lib::access::{ApiKey, KeyRing};
use pp_lib::domain::{KeyLabel, Principal, Scope, Scopes};
use pp_lib::store::NewKey;

use crate::{ApiArgs, Asking, Auth};

/// The name of the key of `PP_ADMIN_KEY_FILE`.
const FIRST: &str = "admin";
/// More than a key with spaces around it has.
const MOST_BYTES: u64 = 1024;

/// When keys are asked for at this address: always where proxies sign users in. Fails, with one line that says what to do, where nobody could use the
/// service or everybody could.
pub(crate) async fn asking(args: &ApiArgs, keys: &KeyRing, address: SocketAddr) -> anyhow::Result<Asking> {
    if let Some(file) = &args.admin_key_file {
        first_key(keys, file).await?;
    }
    keys.refresh().await?;
    let loopback = address.ip().to_canonical().is_loopback();
    match (args.auth, loopback) {
        (Auth::Off, _) => {
            if !loopback {
                log::warn!("PP_AUTH is off: everybody who reaches {address} may read and change everything");
            }
            Ok(Asking::Never)
        }
        (Auth::Auto, true) if args.proxies.trusted().is_some() => Ok(Asking::Always),
        (Auth::Auto, true) => Ok(Asking::OnceThereAreKeys),
        (Auth::Auto, false) if has_admin(keys).await? => Ok(Asking::Always),
        (Auth::Auto, false) => bail!(
            "PP_API_BIND: {address} can be reached by others, and there is no admin key; name a file for one with \
             PP_ADMIN_KEY_FILE, run `cli_01 key create --name admin --scopes admin --call-type db`, or let everybody in \
             with PP_AUTH=off"
        ),
    }
}

async fn has_admin(keys: &KeyRing) -> anyhow::Result<bool> {
    let valid = keys.store().valid_keys().await?;
    Ok(valid.iter().any(|(_, key)| key.scopes.allow(&Scope::Admin)))
}

/// Makes the key in the file the admin key of a database without one. A missing file is made. Services that start at
/// once make one key: one of them creates the file, and the others read it.
async fn first_key(keys: &KeyRing, file: &Path) -> anyhow::Result<()> {
    if has_admin(keys).await? {
        return Ok(());
    }
    let shown = file.display();
    let key = match create(file) {
        Ok(Some(key)) => {
            log::info!("the admin key was written to {shown}");
            key
        }
        Ok(None) => read(file).with_context(|| format!("PP_ADMIN_KEY_FILE: {shown}"))?,
        Err(error) => bail!("PP_ADMIN_KEY_FILE: {shown} cannot be written: {error}"),
    };
    let name: KeyLabel = FIRST.parse()?;
    let new = NewKey {
        name,
        scopes: Scopes::admin(),
        works_per_day: None,
        digest: key.digest(),
    };
    if !keys.store().create_first_key(&Principal::Service, &new).await? && !has_admin(keys).await? {
        bail!("PP_ADMIN_KEY_FILE: a key named {FIRST} without the scope admin is valid; revoke it");
    }
    Ok(())
}

/// Writes a new key to a file that does not exist; `None` if it does. The file appears with its content.
fn create(file: &Path) -> std::io::Result<Option<ApiKey>> {
    if file.exists() {
        return Ok(None);
    }
    let key = ApiKey::random();
    let tag: String = key.digest().0[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let draft = file.with_extension(format!("{tag}.new"));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut written = options.open(&draft)?;
    writeln!(written, "{}", key.secret())?;
    written.sync_all()?;
    let linked = fs::hard_link(&draft, file);
    fs::remove_file(&draft)?;
    match linked {
        Ok(()) => Ok(Some(key)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(error),
    }
}

fn read(file: &Path) -> anyhow::Result<ApiKey> {
    let mut text = String::new();
    fs::File::open(file)?.take(MOST_BYTES).read_to_string(&mut text)?;
    Ok(text.trim().parse::<ApiKey>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_made_once_and_only_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("admin.key");
        let made: Vec<ApiKey> = std::thread::scope(|scope| {
            let calls: Vec<_> = (0..8).map(|_| scope.spawn(|| create(&file).unwrap())).collect();
            calls.into_iter().filter_map(|call| call.join().unwrap()).collect()
        });
        let [key] = &made[..] else {
            panic!("{} keys", made.len())
        };
        assert!(read(&file).unwrap() == *key);
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn another_file_is_no_key_and_is_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("admin.key");
        fs::write(&file, "hunter2").unwrap();
        let error = format!("{:#}", read(&file).unwrap_err());
        assert!(error.contains("pp_") && !error.contains("hunter2"), "{error}");
    }
}
