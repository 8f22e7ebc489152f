//! How the layers of configuration are read and put over each other.

/// Declares a section: a struct of `Option` fields with serde types, and `from_table`, which reads each
/// key by itself so that one bad value hides no other.
macro_rules! section {
    ($(#[$doc:meta])* pub struct $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: Option<$type>,)*
        }

        impl $name {
            pub(super) const KEYS: &'static [&'static str] = &[$(stringify!($field)),*];

            fn from_table(path: &str, table: &toml::Table, problems: &mut Vec<String>) -> Self {
                let mut section = Self::default();
                for (key, value) in table {
                    match key.as_str() {
                        $(stringify!($field) => match <$type as serde::Deserialize>::deserialize(value.clone()) {
                            Ok(value) => section.$field = Some(value),
                            Err(e) => problems.push(format!("{path}.{key}: {}", e.message().replace('\n', " "))),
                        },)*
                        _ => problems.push(format!(
                            "{path}.{key}: unknown key (there are {})", Self::KEYS.join(", ")
                        )),
                    }
                }
                section
            }
        }
    };
}
pub(super) use section;

const PREFIX: &str = "CORRIDOR_";

/// Puts `CORRIDOR_SECTION_KEY=value` over `table`. Variables of other programs, and those that are not
/// about a section (`CORRIDOR_API`, `CORRIDOR_TOKEN`), are left alone.
pub(super) fn overlay(table: &mut toml::Table, environment: impl IntoIterator<Item = (String, String)>) {
    for (name, text) in environment {
        let Some((section, key)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')) else {
            continue;
        };
        let (section, key) = (section.to_ascii_lowercase(), key.to_ascii_lowercase());
        if !["agent", "edge", "controller", "targets", "log"].contains(&section.as_str()) {
            continue;
        }
        let section = table.entry(section).or_insert_with(|| toml::Table::new().into());
        if let toml::Value::Table(section) = section {
            let value = value(&key, &text);
            section.insert(key, value);
        }
    }
}

/// Keys that hold lists: in the environment their items are separated by commas.
const LISTS: &[&str] = &["listen", "advertise", "allow", "methods"];

fn value(key: &str, text: &str) -> toml::Value {
    if LISTS.contains(&key) {
        return text
            .split(',')
            .map(|item| toml::Value::from(item.trim()))
            .collect::<Vec<_>>()
            .into();
    }
    if let Ok(number) = text.parse::<i64>() {
        return number.into();
    }
    match text {
        "true" => true.into(),
        "false" => false.into(),
        _ => text.into(),
    }
}
