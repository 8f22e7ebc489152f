//! Scenarios: a world, what happens to it, and what must hold, as TOML files.

mod expect;
mod run;
mod text;

pub use run::{Outcome, run};
pub use text::Scenario;

/// Why a scenario cannot be run. What does not hold is no error, but part of its [`Outcome`].
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    #[error("{0}")]
    Text(#[from] toml::de::Error),
    #[error("at {at:?}: an action names one thing to do, this one {given}")]
    Action { at: std::time::Duration, given: usize },
    #[error("an expectation names one thing that must hold, this one {0}")]
    Expectation(usize),
    #[error("at {at:?}: {what}")]
    Failed {
        at: std::time::Duration,
        what: String,
        #[source]
        source: Box<super::WorldError>,
    },
    #[error(transparent)]
    World(Box<super::WorldError>),
    #[error(transparent)]
    Controller(#[from] crate::controller::AskError),
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
    /// Reads a scenario and checks that its actions and expectations are each about one thing.
    pub fn parse(toml: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(toml)?;
        for action in &scenario.actions {
            let given = run::things(action);
            if given != 1 {
                return Err(ScenarioError::Action {
                    at: action.time.0,
                    given,
                });
            }
        }
        for expectation in &scenario.expectations {
            let given = expect::things(expectation);
            if given != 1 {
                return Err(ScenarioError::Expectation(given));
            }
        }
        Ok(scenario)
    }
}
