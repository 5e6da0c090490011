//! A small aggregate with all that commands over HTTP can have: a create, commands with and without a body, objects in
//! a body, a second id in the path, each kind of refusal. And a second one, whose ids are not those of the first.

use crate::commands::{At, CommandBody, CommandRoutes, Commands, Id, InvalidValue, Object, Store};
use kernel::testing::tally::{Tally, TallyCommand};
use kernel::{
    Aggregate, AggregateType, Aggregates, Decision, DecisionContext, DomainEvent, EventKind,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(super) const AGGREGATES: Aggregates =
    Aggregates::new(&[AggregateType::of::<Jar>(), AggregateType::of::<Tally>()]);

pub(super) fn routes<S: Store>() -> CommandRoutes<S> {
    CommandRoutes::new()
        .aggregate("jars", jar_commands)
        .aggregate("tallies", |tally| tally.create::<StartTally>())
}

pub(super) fn jar_commands(jar: Commands<Jar>) -> Commands<Jar> {
    jar.create::<OpenJar>()
        .put::<FillJar>("coins")
        .post::<CloseJar>("close")
        .delete::<RemoveCoin>("coins/{coin_id}")
}

#[derive(Debug, Clone, Default)]
pub(super) struct Jar {
    open: Option<bool>,
}

#[derive(Debug, Clone)]
pub(super) enum JarCommand {
    Open { label: String },
    Fill { coins: usize },
    Close,
    Remove,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub(super) enum JarEvent {
    #[serde(rename = "JarOpened")]
    Opened { label: String },
    #[serde(rename = "JarFilled")]
    Filled { coins: usize },
    #[serde(rename = "JarClosed")]
    Closed {},
}

impl DomainEvent for JarEvent {
    const KINDS: &'static [EventKind] = &[
        EventKind::new("JarOpened", 1),
        EventKind::new("JarFilled", 1),
        EventKind::new("JarClosed", 1),
    ];

    fn kind(&self) -> EventKind {
        match self {
            Self::Opened { .. } => Self::KINDS[0],
            Self::Filled { .. } => Self::KINDS[1],
            Self::Closed {} => Self::KINDS[2],
        }
    }

    fn samples() -> Vec<Self> {
        let label = "EUR".to_owned();
        vec![Self::Opened { label }, Self::Filled { coins: 1 }, Self::Closed {}]
    }
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum JarError {
    #[error("there is no such jar")]
    NotFound,
    #[error("a jar of this id is there already")]
    AlreadyThere,
    #[error("the jar is closed")]
    Closed,
    #[error("there is no such coin in the jar")]
    CoinNotFound,
    #[error("the jar holds at most {0} coins")]
    TooManyCoins(usize),
}

kernel::error_codes! {
    JarError {
        NotFound: NotFound "jar_not_found",
        AlreadyThere: WrongState "jar_already_there",
        Closed: WrongState "jar_closed",
        CoinNotFound: NotFound "coin_not_found",
        TooManyCoins: InvalidValue "too_many_coins",
    }
}

impl Aggregate for Jar {
    const TYPE: &'static str = "jar";
    const TOPIC: &'static str = "jars.events";
    type Command = JarCommand;
    type Event = JarEvent;
    type Error = JarError;

    fn decide(&self, command: JarCommand, _: &DecisionContext) -> Decision<Self> {
        match (self.open, command) {
            (None, JarCommand::Open { label }) => Ok(vec![JarEvent::Opened { label }]),
            (Some(_), JarCommand::Open { .. }) => Err(JarError::AlreadyThere),
            (None, _) => Err(JarError::NotFound),
            (_, JarCommand::Remove) => Err(JarError::CoinNotFound),
            (_, JarCommand::Fill { coins: 100.. }) => Err(JarError::TooManyCoins(99)),
            (Some(false), JarCommand::Fill { .. }) => Err(JarError::Closed),
            (Some(true), JarCommand::Fill { coins }) => Ok(vec![JarEvent::Filled { coins }]),
            (Some(false), JarCommand::Close) => Ok(Vec::new()),
            (Some(true), JarCommand::Close) => Ok(vec![JarEvent::Closed {}]),
        }
    }

    fn apply(&mut self, event: &JarEvent) {
        self.open = Some(!matches!(event, JarEvent::Closed {}));
    }
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("must not be blank")]
pub(super) enum RuleError {
    Blank,
}

kernel::error_codes! {
    RuleError {
        Blank: InvalidValue "blank_name",
    }
}

fn named(name: String) -> Result<String, RuleError> {
    if name.trim().is_empty() { Err(RuleError::Blank) } else { Ok(name) }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OpenJar {
    jar_id: Option<Id>,
    owner_id: Id,
    label: String,
    coins: Vec<Object<Coin>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FillJar {
    coins: Vec<Object<Coin>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Coin {
    name: String,
    count: i64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CloseJar {}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoveCoin {
    #[serde(skip_deserializing)]
    coin_id: Uuid,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StartTally {
    tally_id: Id,
    number: u64,
}

fn checked(coins: Vec<Object<Coin>>) -> Result<usize, InvalidValue> {
    let count = coins.len();
    for (place, Object(coin)) in coins.into_iter().enumerate() {
        named(coin.name).at(format!("coins[{place}].name"))?;
    }
    Ok(count)
}

impl CommandBody<Jar> for OpenJar {
    const NAME: &'static str = "open";

    fn named_id(&self) -> Option<Uuid> {
        self.jar_id.map(|id| id.0)
    }

    fn into_command(self, _command_id: Uuid) -> Result<JarCommand, InvalidValue> {
        checked(self.coins)?;
        Ok(JarCommand::Open { label: named(self.label).at("label")? })
    }
}

impl CommandBody<Jar> for FillJar {
    const NAME: &'static str = "fill";

    fn into_command(self, _command_id: Uuid) -> Result<JarCommand, InvalidValue> {
        Ok(JarCommand::Fill { coins: checked(self.coins)? })
    }
}

impl CommandBody<Jar> for CloseJar {
    const NAME: &'static str = "close";
    const MAY_BE_ABSENT: bool = true;

    fn into_command(self, _command_id: Uuid) -> Result<JarCommand, InvalidValue> {
        Ok(JarCommand::Close)
    }
}

impl CommandBody<Jar> for RemoveCoin {
    const NAME: &'static str = "remove_coin";
    const MAY_BE_ABSENT: bool = true;

    fn take_path_id(&mut self, id: Uuid) {
        self.coin_id = id;
    }

    fn into_command(self, _command_id: Uuid) -> Result<JarCommand, InvalidValue> {
        Ok(JarCommand::Remove)
    }
}

impl CommandBody<Tally> for StartTally {
    const NAME: &'static str = "start";

    fn named_id(&self) -> Option<Uuid> {
        Some(self.tally_id.0)
    }

    fn into_command(self, _command_id: Uuid) -> Result<TallyCommand, InvalidValue> {
        Ok(TallyCommand::Add(self.number))
    }
}
