//! Join tokens: what lets agents and edges enrol.

use std::{collections::BTreeMap, time::Duration};

use axum::{Json, extract::State, http::StatusCode};

use super::{
    ApiState,
    auth::{Admin, Auth},
    enrol::{is_name, is_subject},
    error::{ApiError, Body},
    extract::Path,
    model::{self, CreateToken, CreatedToken, TokenInfo},
    router::Denied,
    time_text,
};
use crate::{
    identity::{Token, system_rng},
    store::records::{Service, TokenRecord},
};

/// Who may join with one token at most: a big school's machines.
const MAX_USES: u32 = 100_000;
/// A token's life, in seconds.
const USUAL_LIFE_S: u64 = 86_400;
const MAX_LIFE_S: u64 = 366 * 86_400;
/// Tags of one token, and bytes of a tag's name or value.
const MAX_TAGS: usize = 16;
const MAX_TAG: usize = 64;

/// Join tokens, newest first; never the tokens themselves.
#[utoipa::path(
    get, operation_id = "list_tokens", path = "/api/v1/tokens", tag = "tokens", security(("session" = []), ("token" = [])),
    responses((status = 200, description = "The tokens", body = Vec<TokenInfo>), Denied),
)]
pub async fn list(_: Auth<Admin>, State(api): State<ApiState>) -> Result<Json<Vec<TokenInfo>>, ApiError> {
    let tokens = api.store(|store| store.tokens()).await?;
    Ok(Json(tokens.into_iter().rev().map(info).collect()))
}

fn info(token: TokenRecord) -> TokenInfo {
    TokenInfo {
        id: token.id,
        service: token.service,
        subject: token.subject,
        tags: token.tags,
        uses_left: token.uses_left,
        created: time_text::text(token.created),
        expires: time_text::text(token.expires),
        revoked: token.revoked.is_some(),
    }
}

/// Makes a join token. It is shown this once.
#[utoipa::path(
    post, operation_id = "create_token", path = "/api/v1/tokens", tag = "tokens", request_body = CreateToken,
    security(("session" = []), ("token" = [])),
    responses(
        (status = 201, description = "The token", body = CreatedToken),
        (status = 400, description = "Something of it makes no sense", body = model::Error),
        Denied,
    ),
)]
pub async fn create(
    auth: Auth<Admin>,
    State(api): State<ApiState>,
    Body(asked): Body<CreateToken>,
) -> Result<(StatusCode, Json<CreatedToken>), ApiError> {
    let life = check(&asked)?;
    let pin = api.ca.pin().map_err(|e| ApiError::internal(&e))?;
    let token = Token::create(pin, &mut system_rng());
    let now = api.now();
    let record = TokenRecord {
        id: token.id(),
        secret_hash: token.secret_hash(),
        service: asked.service,
        subject: asked.subject,
        tags: asked.tags,
        uses_left: asked.uses.unwrap_or(1),
        created: now,
        expires: now + life,
        revoked: None,
    };
    let (text, is_named) = (token.to_string(), record.subject.is_some());
    let created = CreatedToken {
        id: record.id.clone(),
        join: join_line(&api.public_url, record.service, &text, is_named),
        token: text,
        expires: time_text::text(record.expires),
    };
    tracing::info!(by = %auth.caller.name, id = %record.id, service = ?record.service, "made a join token");
    api.store(move |store| store.put_token(&record)).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// What to run on the machine that shall join. Where the token is not for one subject or edge only, a name
/// has to be written in the place of `NAME`.
pub fn join_line(url: &str, service: Service, token: &str, is_named: bool) -> String {
    let (service, option) = match service {
        Service::Agent => ("agent", "--subject"),
        Service::Edge => ("edge", "--name"),
    };
    let mut line = format!("corridor {service} join {url} --join {token}");
    if !is_named {
        line += &format!(" {option} NAME");
    }
    line
}

/// Answers the token's life.
fn check(asked: &CreateToken) -> Result<Duration, ApiError> {
    let bad = |message: String| Err(ApiError::bad_request("bad_request", message));
    if !(1..=MAX_USES).contains(&asked.uses.unwrap_or(1)) {
        return bad(format!("a token has 1 to {MAX_USES} uses"));
    }
    let life = asked.expires_s.unwrap_or(USUAL_LIFE_S);
    if !(1..=MAX_LIFE_S).contains(&life) {
        return bad(format!("a token lives for 1 to {MAX_LIFE_S} s"));
    }
    let named = match (&asked.subject, asked.service) {
        (None, _) => true,
        (Some(subject), Service::Agent) => is_subject(subject),
        (Some(name), Service::Edge) => is_name(name),
    };
    if !named {
        return bad("no agent or edge can have this name".into());
    }
    if !are_tags(&asked.tags) {
        return bad(format!(
            "a token has at most {MAX_TAGS} tags, of 1 to {MAX_TAG} bytes without control characters"
        ));
    }
    Ok(Duration::from_secs(life))
}

fn are_tags(tags: &BTreeMap<String, String>) -> bool {
    let fine = |text: &String| (1..=MAX_TAG).contains(&text.len()) && !text.contains(char::is_control);
    tags.len() <= MAX_TAGS && tags.iter().all(|(name, value)| fine(name) && fine(value))
}

/// Revokes a join token. Who has joined with it stays.
#[utoipa::path(
    delete, operation_id = "revoke_token", path = "/api/v1/tokens/{id}", tag = "tokens",
    params(("id" = String, Path, description = "16 hex digits")),
    security(("session" = []), ("token" = [])),
    responses(
        (status = 204, description = "It is revoked"),
        (status = 404, description = "There is no such token", body = model::Error),
        Denied,
    ),
)]
pub async fn revoke(
    auth: Auth<Admin>,
    State(api): State<ApiState>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let (now, wanted) = (api.now(), id.clone());
    if !api.store(move |store| store.revoke_token(&wanted, now)).await? {
        return Err(ApiError::not_found(format!("there is no join token '{id}'")));
    }
    tracing::info!(by = %auth.caller.name, %id, "revoked a join token");
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_line_names_what_the_token_does_not() {
        for (service, is_named, line) in [
            (Service::Agent, true, "corridor agent join URL --join T"),
            (
                Service::Agent,
                false,
                "corridor agent join URL --join T --subject NAME",
            ),
            (Service::Edge, true, "corridor edge join URL --join T"),
            (
                Service::Edge,
                false,
                "corridor edge join URL --join T --name NAME",
            ),
        ] {
            assert_eq!(join_line("URL", service, "T", is_named), line);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let good = CreateToken {
            service: Service::Agent,
            uses: None,
            expires_s: None,
            subject: None,
            tags: BTreeMap::new(),
        };
        assert_eq!(check(&good), Ok(Duration::from_secs(86_400)));
        let tags = |n: usize, len: usize| (0..n).map(|i| (format!("t{i}"), "x".repeat(len))).collect();
        let with = |change: &dyn Fn(&mut CreateToken)| {
            let mut asked = good.clone();
            change(&mut asked);
            check(&asked).is_ok()
        };
        for (uses, fine) in [(0, false), (1, true), (100_000, true), (100_001, false)] {
            assert_eq!(with(&|t| t.uses = Some(uses)), fine, "{uses} uses");
        }
        for (life, fine) in [(0, false), (1, true), (MAX_LIFE_S, true), (u64::MAX, false)] {
            assert_eq!(with(&|t| t.expires_s = Some(life)), fine, "{life} s");
        }
        for (service, name, fine) in [
            (Service::Agent, "s 1", false),
            (Service::Agent, "s/1", true),
            (Service::Edge, "s/1", false),
            (Service::Edge, "fra-1", true),
            (Service::Edge, "", false),
        ] {
            let named = with(&|t| {
                t.service = service;
                t.subject = Some(name.into());
            });
            assert_eq!(named, fine, "{service:?} {name:?}");
        }
        for (n, len, fine) in [(16, 64, true), (17, 1, false), (1, 65, false), (1, 0, false)] {
            assert_eq!(with(&|t| t.tags = tags(n, len)), fine, "{n} tags of {len} B");
        }
    }
}
