//! What is under which path: everything of the API under `/api/v1`, and the pages everywhere else.

use std::collections::BTreeMap;

use axum::{
    Json,
    http::{Method, Uri},
    response::IntoResponse,
};
use tower_http::compression::CompressionLayer;
use utoipa::{
    IntoResponses, ToSchema as _,
    openapi::{
        ContentBuilder, InfoBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder,
        response::ResponsesBuilder,
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiState, accounts, agents, api_tokens, auth, classes, edges, enrol, error::ApiError, events, live,
    model, pages, status, timeline, tokens,
};

/// The API and the pages, to be served by [`super::server::Listener`], which bounds what a request may cost
/// and sets the headers that bind browsers. JSON and assets are compressed, the live feed is not.
pub fn router(state: ApiState) -> axum::Router {
    let (api, _) = api().split_for_parts();
    api.method_not_allowed_fallback(method_not_allowed)
        .fallback(pages::serve)
        .with_state(state)
        // Of its own accord it leaves event streams alone, and what is small or compressed already.
        .layer(CompressionLayer::new())
}

fn api() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .merge(auth::router())
        .merge(enrol::router())
        .routes(routes!(status::status))
        .routes(routes!(live::live))
        .routes(routes!(classes::list, classes::create))
        .routes(routes!(classes::get))
        .routes(routes!(classes::end))
        .routes(routes!(classes::join))
        .routes(routes!(classes::leave))
        .routes(routes!(timeline::read::get))
        .routes(routes!(edges::list))
        .routes(routes!(edges::drain))
        .routes(routes!(edges::revoke))
        .routes(routes!(agents::list))
        .routes(routes!(agents::revoke))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(api_tokens::list, api_tokens::create))
        .routes(routes!(api_tokens::revoke))
        .routes(routes!(accounts::reset_password))
        .routes(routes!(events::list))
        .routes(routes!(document))
}

/// The API's description, OpenAPI 3.1.
pub fn openapi() -> OpenApi {
    let mut openapi = api().into_openapi();
    openapi.info = InfoBuilder::new()
        .title("Corridor")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Network quality of online classes, and the routes that keep them inside a delay budget. What is \
             unknown is absent; times are RFC 3339 in UTC unless a name ends in `_ms` or `_s`. With a session's \
             cookie, requests that change something carry the session's `csrf` in `x-corridor-csrf`.",
        ))
        .build();
    openapi.servers = None;
    auth::describe_security(&mut openapi);
    openapi
}

/// The same as indented JSON, with a newline at its end.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn openapi_json() -> serde_json::Result<String> {
    let mut text = serde_json::to_string_pretty(&openapi())?;
    text.push('\n');
    Ok(text)
}

/// This description.
#[utoipa::path(
    get, operation_id = "get_openapi", path = "/api/v1/openapi.json", tag = "status",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)),
)]
async fn document() -> Json<OpenApi> {
    Json(openapi())
}

async fn method_not_allowed(method: Method, uri: Uri) -> impl IntoResponse {
    let message = format!("{} does not take {method}", uri.path());
    ApiError::new(
        axum::http::StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        message,
    )
}

/// What every request that needs a level may be answered.
#[derive(Debug)]
pub struct Denied;

impl IntoResponses for Denied {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let error = || {
            let schema = Ref::from_schema_name(model::Error::name());
            ContentBuilder::new().schema(Some(schema)).build()
        };
        let response = |text: &str| {
            ResponseBuilder::new()
                .description(text)
                .content("application/json", error())
                .build()
        };
        let all = ResponsesBuilder::new()
            .response("401", response("Nobody is logged in"))
            .response(
                "403",
                response("This needs a higher level, or the token against forged requests"),
            )
            .response("503", response("The controller is too busy"));
        all.build().responses
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
