//! Somebody who calls: by what name, what they may do, and where.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use waystation_core::error::{Code, Error, nearest};

use super::Api;

/// What somebody may do. Each role may do all that those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// See workflows, runs and what became of them.
    Viewer,
    /// Begin, end and repeat runs of what others have defined.
    Runner,
    /// Define what runs.
    Editor,
    /// Keep secrets and keys.
    Admin,
}

impl Role {
    /// All roles, the least first.
    pub const ALL: [Role; 4] = [Role::Viewer, Role::Runner, Role::Editor, Role::Admin];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Runner => "runner",
            Role::Editor => "editor",
            Role::Admin => "admin",
        }
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Role, Error> {
        let found = Role::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| {
            let names = Role::ALL.map(Role::as_str);
            let near = nearest(text, names.into_iter());
            let error = Error::new(Code::RequestInvalid, format!("There is no role {text:?}"));
            error.with_hint(match near.first() {
                Some(near) => format!("did you mean {near}?"),
                None => format!("there are {}", names.join(", ")),
            })
        })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The namespaces in which somebody may act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All there are.
    All,
    /// These.
    Named(Arc<BTreeSet<String>>),
}

impl Scope {
    /// These namespaces; all of them where none are named.
    pub fn of(names: Option<impl IntoIterator<Item = String>>) -> Scope {
        match names {
            None => Scope::All,
            Some(names) => Scope::Named(Arc::new(names.into_iter().collect())),
        }
    }

    /// Whether a namespace is among them.
    pub fn holds(&self, namespace: &str) -> bool {
        match self {
            Scope::All => true,
            Scope::Named(names) => names.contains(namespace),
        }
    }

    /// Refuses a namespace that is not among them.
    pub fn enter(&self, namespace: &str) -> Result<(), Error> {
        if self.holds(namespace) {
            return Ok(());
        }
        let text = format!("You may not act in the namespace {namespace:?}");
        Err(Error::new(Code::Forbidden, text).with_hint("ask an admin for a key that may"))
    }
}

/// Somebody who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Tells them from others: `key:`, `token:` or `address:` and what identifies them there.
    pub name: Arc<str>,
    /// What they may do.
    pub role: Role,
    /// Where.
    pub scope: Scope,
    /// Why they were let in.
    pub ground: Ground,
}

/// Why somebody was let in, which may cease to hold while they are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ground {
    /// They showed what only this server itself gives.
    Own,
    /// Nobody is asked who uses this.
    Open(Api),
    /// A key, by its id.
    Key(Arc<str>),
    /// A token, until then in Unix milliseconds.
    Token(u64),
}

impl Principal {
    /// Somebody who has not been asked who they are.
    pub fn anonymous(name: &str, ground: Ground) -> Principal {
        Principal { name: name.into(), role: Role::Editor, scope: Scope::All, ground }
    }

    /// Whoever can read the data directory.
    pub fn operator() -> Principal {
        let ground = Ground::Own;
        Principal { name: "operator".into(), role: Role::Admin, scope: Scope::All, ground }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_grow_and_are_read_by_name() {
        assert!(Role::ALL.is_sorted());
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        let error = "edtor".parse::<Role>().unwrap_err();
        assert_eq!(error.hint(), Some("did you mean editor?"));
        let error = "Admin ".parse::<Role>().unwrap_err();
        assert_eq!(error.message, "There is no role \"Admin \"");
    }

    #[test]
    fn a_scope_holds_what_it_names() {
        let scope = Scope::of(Some(["a".to_owned()]));
        assert!(scope.holds("a") && !scope.holds("b") && !scope.holds(""));
        assert!(!Scope::of(Some([])).holds("a"), "nothing named is nothing");
        assert!(Scope::of(None::<[String; 0]>).holds("b"));
        assert_eq!(scope.enter("b").unwrap_err().code, Code::Forbidden);
    }
}
