//! What is brought to be compiled: components that aren't, or that want what no plugin gets.

use backstay_host::{CompileError, compile_component, componentize};
use serde::Deserialize;

use super::{Damage, Verdict, guest};
use crate::here;

/// A component. Without anything said it is that of a good policy.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Component {
    /// Written by hand, as text.
    text: Option<String>,
    /// That of a policy with this in place of its memory.
    parts: Option<String>,
    /// A core module, as text, that is to be made a component of.
    module: Option<String>,
    /// So many bytes of nothing.
    zeros: Option<usize>,
    /// What is done to its bytes.
    damage: Vec<Damage>,
}

impl Component {
    pub(super) fn tried(&self) -> Verdict {
        match self.compile() {
            Ok(bytes) => Verdict::Accepted(format!("{bytes} bytes of code")),
            Err(error) => Verdict::of(&error, error.help()),
        }
    }

    fn compile(&self) -> Result<usize, CompileError> {
        let parse = |text: &String| wat::parse_str(text).unwrap_or_else(|why| panic!("{why}"));
        let mut bytes = if let Some(text) = &self.text {
            parse(text)
        } else if let Some(module) = &self.module {
            componentize(&parse(module))?
        } else if let Some(parts) = &self.parts {
            guest::policy_with(parts)?
        } else if let Some(zeros) = self.zeros {
            vec![0; zeros]
        } else {
            guest::good_policy().to_vec()
        };
        Damage::all(&self.damage, &mut bytes);
        compile_component(&bytes, here()).map(|compiled| compiled.bytes.len())
    }
}
