//! Bodies of commands, in one list.

/// Defines the bodies of an aggregate's commands: each with its name in metrics and fingerprints, its fields, and how
/// the command is made of them. An unknown field is refused; of a body without fields nothing need be sent.
///
/// ```text
/// bodies! {
///     for Account;
///     /// Money comes.
///     Deposit = "deposit" { amount_minor: i64 } =>
///         AccountCommand::Deposit(Amount::new(amount_minor).at("amount_minor")?);
///     /// Nothing else will come.
///     Close = "close" {} => AccountCommand::Close;
/// }
/// ```
///
/// A body that names the id of what it creates, or takes one from the path, implements [`CommandBody`] by hand.
///
/// [`CommandBody`]: crate::commands::CommandBody
#[macro_export]
macro_rules! bodies {
    (
        for $aggregate:ty;
        $(
            $(#[$of_body:meta])*
            $body:ident = $name:literal {
                $($(#[$of_field:meta])* $field:ident: $of_type:ty),* $(,)?
            } => $command:expr;
        )+
    ) => {
        $(
            $(#[$of_body])*
            #[derive(Debug, ::serde::Serialize, ::serde::Deserialize)]
            #[serde(deny_unknown_fields)]
            struct $body { $($(#[$of_field])* $field: $of_type),* }

            impl $crate::commands::CommandBody<$aggregate> for $body {
                const NAME: &'static str = $name;
                const MAY_BE_ABSENT: bool = <[&str]>::is_empty(&[$(stringify!($field)),*]);

                fn into_command(
                    self,
                    _command_id: ::uuid::Uuid,
                ) -> Result<$crate::commands::CommandOf<$aggregate>, $crate::commands::InvalidValue> {
                    let Self { $($field),* } = self;
                    Ok($command)
                }
            }
        )+
    };
}
