//! What is wrong with a configuration.

/// All that is wrong with a configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration is wrong:\n  {}", .0.join("\n  "))]
pub struct ConfigError(pub(super) Vec<String>);

impl ConfigError {
    /// One thing that is wrong.
    pub fn of(wrong: impl Into<String>) -> Self {
        Self(vec![wrong.into()])
    }
}
