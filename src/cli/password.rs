//! `corridor controller password`: the way back in for who is locked out, for whoever may read the
//! controller's data. A controller that runs is asked; the store of one that does not is opened.

use std::path::{Path, PathBuf};

use super::{
    Failure,
    client::{Client, segment},
    output,
};
use crate::{
    api::{auth::account_with_random_password, model::NewPassword, replace_password},
    clock::{Clock as _, SystemClock},
    config::Config,
    daemon::{LocalAccess, default_data},
    identity::system_rng,
    store::{
        StoreError,
        records::Level,
        sqlite::{self, Sqlite},
    },
};

/// `corridor controller password`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose password
    #[arg(long, value_name = "NAME", default_value = "admin")]
    account: String,
    /// Data directory of the controller
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self, config: &Config) -> Result<(), Failure> {
        let data = match self.data.or_else(|| config.controller.data.clone()) {
            Some(data) => data,
            None => usual_data()?,
        };
        let made = reset(&data, &self.account)?;
        if self.json {
            return output::json(&made);
        }
        output::line(format!(
            "account {} has the password {} (shown only now); its sessions have ended",
            made.name, made.password
        ))
    }
}

/// Where the one controller of this machine keeps its data, when nothing else is said.
fn usual_data() -> Result<PathBuf, Failure> {
    let usual = [default_data("controller"), default_data("up")];
    let mut found = usual.iter().filter(|data| store_file(data).exists());
    match (found.next(), found.next()) {
        (Some(data), None) => Ok(data.clone()),
        (None, _) => Err(Failure::usage(format!(
            "no controller keeps its data in {} or {}: say where with --data",
            usual[0].display(),
            usual[1].display()
        ))),
        (Some(one), Some(other)) => Err(Failure::usage(format!(
            "controllers keep data in {} and {}: say which with --data",
            one.display(),
            other.display()
        ))),
    }
}

fn reset(data: &Path, account: &str) -> Result<NewPassword, Failure> {
    let file = store_file(data);
    match std::fs::File::open(&file) {
        Ok(_) => {}
        // One that keeps its store in memory, as a demo does, can be asked all the same.
        Err(_) if data.join(LocalAccess::FILE).exists() => return ask(data, account),
        Err(error) => {
            return Err(Failure::usage(format!(
                "{}: {error} (is {} a controller's data directory?)",
                file.display(),
                data.display()
            )));
        }
    }
    let now = SystemClock::new().wall();
    let mut store = match Sqlite::open(&sqlite_dir(data), now) {
        Ok(store) => store,
        Err(StoreError::Locked { .. }) => return ask(data, account),
        Err(error) => return Err(Failure::Runtime(error.into())),
    };
    // The level is that of the account there is.
    let (fresh, password) = account_with_random_password(account, Level::Viewer, now, &mut system_rng())
        .map_err(|e| Failure::Runtime(e.into()))?;
    let level = replace_password(&mut store, fresh).map_err(|e| Failure::Runtime(e.into()))?;
    Ok(NewPassword {
        name: account.to_owned(),
        level: level.ok_or_else(|| Failure::usage(format!("there is no account '{account}'")))?,
        password,
    })
}

/// The controller runs.
fn ask(data: &Path, account: &str) -> Result<NewPassword, Failure> {
    Client::local(data)?.post(&format!("accounts/{}/password", segment(account)), &())
}

fn sqlite_dir(data: &Path) -> PathBuf {
    data.join("store")
}

fn store_file(data: &Path) -> PathBuf {
    sqlite_dir(data).join(sqlite::MAIN)
}
