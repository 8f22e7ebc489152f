//! Scenarios: a world, what happens to it, and what must hold, as TOML files. They are run in virtual time,
//! where what must hold is checked, or watched in real time.

mod check;
mod expect;
mod run;
mod stage;
mod tell;
mod text;
mod timeline;
mod watch;

#[cfg(test)]
mod tests;

pub use run::{Outcome, run};
pub use text::Scenario;
pub use watch::{Controls, Told, Watch};

/// Why a scenario cannot be run. What does not hold is no error, but part of its [`Outcome`].
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The text makes no sense; on one line, with the line where that is if it can be told.
    #[error("{0}")]
    Text(String),
    #[error("at {at}: {what}")]
    Failed {
        at: humantime::FormattedDuration,
        what: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(transparent)]
    World(Box<super::WorldError>),
    #[error(transparent)]
    Controller(#[from] crate::controller::AskError),
    #[error(transparent)]
    Talk(#[from] super::TalkError),
    #[error("agent '{0}' does not answer")]
    Agent(String),
    #[error("'{0}' stands in no map of agents, edges or the controller")]
    Unknown(String),
}

impl From<super::WorldError> for ScenarioError {
    fn from(error: super::WorldError) -> Self {
        Self::World(Box::new(error))
    }
}

impl Scenario {
    /// What `corridor demo` shows.
    pub fn demo() -> Result<Self, ScenarioError> {
        Self::parse(include_str!("demo.toml"))
    }

    /// Reads a scenario, and checks that it makes sense.
    pub fn parse(toml: &str) -> Result<Self, ScenarioError> {
        let wrong = |span: Option<std::ops::Range<usize>>, what: &str| {
            let before = span.and_then(|span| toml.get(..span.start));
            let line = before.map_or_else(String::new, |b| format!("line {}: ", b.matches('\n').count() + 1));
            ScenarioError::Text(format!("{line}{}", what.replace('\n', " ")))
        };
        let scenario: Self = toml::from_str(toml).map_err(|e| wrong(e.span(), e.message()))?;
        check::check(&scenario).map_err(|(span, what)| wrong(span, &what))?;
        Ok(scenario)
    }
}
