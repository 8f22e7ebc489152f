//! `corridor token`: join tokens.

use std::{collections::BTreeMap, time::Duration};

use clap::Subcommand;

use super::{
    Failure,
    client::{ApiArgs, segment},
    output,
};
use crate::{
    api::model::{CreateToken, CreatedToken, TokenInfo},
    store::records::Service,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Create a token that machines join with, and print it
    Create {
        /// What may join with it
        #[arg(long, value_parser = service)]
        service: Service,
        /// How many may join with it
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        uses: u32,
        /// For how long
        #[arg(long, default_value = "24h", value_parser = humantime::parse_duration)]
        expires: Duration,
        /// Only this subject (or edge name) may join with it
        #[arg(long, value_name = "S")]
        subject: Option<String>,
        /// Kept with whoever joins: region, role, school, …
        #[arg(long = "tag", value_name = "K=V", value_parser = tag)]
        tags: Vec<(String, String)>,
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        api: ApiArgs,
    },
    /// List tokens
    List {
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Revoke a token; those who joined with it stay
    Revoke {
        id: String,
        #[command(flatten)]
        api: ApiArgs,
    },
}

pub(super) fn service(text: &str) -> Result<Service, String> {
    match text {
        "agent" => Ok(Service::Agent),
        "edge" => Ok(Service::Edge),
        _ => Err("agent or edge".to_owned()),
    }
}

pub(super) fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

impl Args {
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            TokenCommand::Create {
                service,
                uses,
                expires,
                subject,
                tags,
                json,
                api,
            } => {
                let request = CreateToken {
                    service,
                    uses: Some(uses),
                    expires_s: Some(expires.as_secs()),
                    subject,
                    tags: tags.into_iter().collect::<BTreeMap<_, _>>(),
                };
                let created: CreatedToken = api.client()?.post("tokens", &request)?;
                // The token alone on its line, so that `$(corridor token create …)` is the token.
                if json {
                    output::json(&created)
                } else {
                    output::line(created.token)
                }
            }
            TokenCommand::List { json, api } => {
                let tokens: Vec<TokenInfo> = api.client()?.get("tokens")?;
                if json {
                    return output::json(&tokens);
                }
                output::line(output::table(
                    ["ID", "SERVICE", "SUBJECT", "USES LEFT", "EXPIRES", "STATE"],
                    tokens.into_iter().map(|t| {
                        [
                            t.id,
                            format!("{:?}", t.service).to_lowercase(),
                            t.subject.unwrap_or_else(|| "any".into()),
                            t.uses_left.to_string(),
                            t.expires,
                            if t.revoked {
                                "revoked".into()
                            } else {
                                "valid".into()
                            },
                        ]
                    }),
                ))
            }
            TokenCommand::Revoke { id, api } => {
                api.client()?.delete::<()>(&format!("tokens/{}", segment(&id)))?;
                output::line(format!("token {id} is revoked"))
            }
        }
    }
}
