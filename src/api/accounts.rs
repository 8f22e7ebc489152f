//! Accounts: the way back in for one who is locked out.

use axum::{Json, extract::State};

use super::{
    ApiState,
    auth::{Admin, Auth, account_with_random_password},
    error::ApiError,
    extract::Path,
    model::{self, NewPassword},
    router::Denied,
};
use crate::{
    identity::system_rng,
    store::{
        self, Store,
        records::{AccountRecord, BearerKind, Level},
    },
};

/// Gives an account a new random password, and ends its sessions. The password is shown this once.
#[utoipa::path(
    post, operation_id = "reset_password", path = "/api/v1/accounts/{name}/password", tag = "session",
    params(("name" = String, Path, description = "The account's name")),
    security(("session" = []), ("token" = [])),
    responses(
        (status = 200, description = "The password", body = NewPassword),
        (status = 404, description = "There is no such account", body = model::Error),
        Denied,
    ),
)]
pub async fn reset_password(
    auth: Auth<Admin>,
    State(api): State<ApiState>,
    Path(name): Path<String>,
) -> Result<Json<NewPassword>, ApiError> {
    let unknown = || ApiError::not_found(format!("there is no account '{name}'"));
    let wanted = name.clone();
    let known = api.store(move |store| store.account(&wanted)).await?;
    let level = known.ok_or_else(unknown)?.level;
    let (wanted, now) = (name.clone(), api.now());
    let made = tokio::task::spawn_blocking(move || {
        account_with_random_password(&wanted, level, now, &mut system_rng())
    });
    let (fresh, password) = made
        .await
        .map_err(|e| ApiError::internal(&e))?
        .map_err(|e| ApiError::internal(&e))?;
    let level = api.store(move |store| replace_password(store, fresh)).await?;
    let level = level.ok_or_else(unknown)?;
    api.authenticator.forgive(&name);
    tracing::warn!(by = %auth.caller.name, account = %name, "gave an account a new password");
    Ok(Json(NewPassword {
        name,
        level,
        password,
    }))
}

/// Gives the account of the name of `fresh` its password, and ends its sessions. Answers its level, which
/// stays as it is; `None` if there is no such account.
pub fn replace_password(store: &mut dyn Store, fresh: AccountRecord) -> store::Result<Option<Level>> {
    let Some(account) = store.account(&fresh.name)? else {
        return Ok(None);
    };
    let level = account.level;
    let name = fresh.name.clone();
    store.put_account(&AccountRecord { level, ..fresh })?;
    store.delete_bearers(BearerKind::Session, &name)?;
    Ok(Some(level))
}
