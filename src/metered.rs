//! Is this machine's line paid by the byte? The operator says so, or its packets go into a mobile modem.
//! Desktops know more (NetworkManager, over D-Bus), which is not asked.

use serde::Deserialize;

/// What the operator said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metered {
    /// As the link's type says.
    #[default]
    Auto,
    Yes,
    No,
}

/// The type of link that counts as metered, as the operator and `corridor_probes::surroundings` call it.
const CELLULAR: &str = "cellular";

impl Metered {
    /// Whether a line of this type is metered.
    pub fn applies(self, link_type: &str) -> bool {
        match self {
            Self::Yes => true,
            Self::No => false,
            Self::Auto => link_type == CELLULAR,
        }
    }
}

#[cfg(test)]
mod tests {
    use corridor_probes::surroundings::LinkType;

    use super::*;

    #[test]
    fn the_operator_s_word_goes_first() {
        let (cellular, wifi) = (LinkType::Cellular.to_string(), LinkType::Wifi.to_string());
        assert!(Metered::Yes.applies(&wifi));
        assert!(!Metered::No.applies(&cellular));
        assert!(Metered::Auto.applies(&cellular));
        assert!(!Metered::Auto.applies(&wifi) && !Metered::Auto.applies(""));
    }
}
