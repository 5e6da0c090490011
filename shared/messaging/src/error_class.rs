//! What a code of the broker, or of librdkafka for it, means for the record. `docs/errors.md` has the
//! table; a test compares it with this file.

use cdc::ErrorClass;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Of a record that was not acknowledged.
pub(crate) fn of_record(error: &KafkaError) -> ErrorClass {
    // Without a code the record was cancelled with its producer.
    error.rdkafka_error_code().map_or(ErrorClass::Transport, of_code)
}

fn of_code(code: RDKafkaErrorCode) -> ErrorClass {
    use RDKafkaErrorCode as Code;
    match code {
        // This very record is refused.
        Code::InvalidMessage
        | Code::InvalidMessageSize
        | Code::MessageSizeTooLarge
        | Code::InvalidTopic
        | Code::InvalidTimestamp
        | Code::InvalidRecord => ErrorClass::Poison,
        // What is configured here or there is wrong.
        Code::InvalidArgument
        | Code::NotImplemented
        | Code::UnsupportedFeature
        | Code::NotConfigured
        | Code::InvalidRequiredAcks
        | Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::UnsupportedVersion
        | Code::InvalidConfig
        | Code::UnsupportedForMessageFormat
        | Code::TransactionalIdAuthorizationFailed
        | Code::SecurityDisabled
        | Code::UnsupportedCompressionType => ErrorClass::Fatal,
        // Also who is not let in: passwords and certificates are put right while the process tries on.
        _ => ErrorClass::Transport,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RDKafkaErrorCode as Code;

    const DOC: &str = include_str!("../../../docs/errors.md");

    /// Every code that librdkafka knows.
    const CODES: [Code; 169] = [
        Code::BadMessage,
        Code::BadCompression,
        Code::BrokerDestroy,
        Code::Fail,
        Code::BrokerTransportFailure,
        Code::CriticalSystemResource,
        Code::Resolve,
        Code::MessageTimedOut,
        Code::PartitionEOF,
        Code::UnknownPartition,
        Code::FileSystem,
        Code::UnknownTopic,
        Code::AllBrokersDown,
        Code::InvalidArgument,
        Code::OperationTimedOut,
        Code::QueueFull,
        Code::ISRInsufficient,
        Code::NodeUpdate,
        Code::SSL,
        Code::WaitingForCoordinator,
        Code::UnknownGroup,
        Code::InProgress,
        Code::PreviousInProgress,
        Code::ExistingSubscription,
        Code::AssignPartitions,
        Code::RevokePartitions,
        Code::Conflict,
        Code::State,
        Code::UnknownProtocol,
        Code::NotImplemented,
        Code::Authentication,
        Code::NoOffset,
        Code::Outdated,
        Code::TimedOutQueue,
        Code::UnsupportedFeature,
        Code::WaitCache,
        Code::Interrupted,
        Code::KeySerialization,
        Code::ValueSerialization,
        Code::KeyDeserialization,
        Code::ValueDeserialization,
        Code::Partial,
        Code::ReadOnly,
        Code::NoEnt,
        Code::Underflow,
        Code::InvalidType,
        Code::Retry,
        Code::PurgeQueue,
        Code::PurgeInflight,
        Code::Fatal,
        Code::Inconsistent,
        Code::GaplessGuarantee,
        Code::PollExceeded,
        Code::UnknownBroker,
        Code::NotConfigured,
        Code::Fenced,
        Code::Application,
        Code::AssignmentLost,
        Code::Noop,
        Code::AutoOffsetReset,
        Code::LogTruncation,
        Code::InvalidDifferentRecord,
        Code::DestroyBroker,
        Code::Unknown,
        Code::OffsetOutOfRange,
        Code::InvalidMessage,
        Code::UnknownTopicOrPartition,
        Code::InvalidMessageSize,
        Code::LeaderNotAvailable,
        Code::NotLeaderForPartition,
        Code::RequestTimedOut,
        Code::BrokerNotAvailable,
        Code::ReplicaNotAvailable,
        Code::MessageSizeTooLarge,
        Code::StaleControllerEpoch,
        Code::OffsetMetadataTooLarge,
        Code::NetworkException,
        Code::CoordinatorLoadInProgress,
        Code::CoordinatorNotAvailable,
        Code::NotCoordinator,
        Code::InvalidTopic,
        Code::MessageBatchTooLarge,
        Code::NotEnoughReplicas,
        Code::NotEnoughReplicasAfterAppend,
        Code::InvalidRequiredAcks,
        Code::IllegalGeneration,
        Code::InconsistentGroupProtocol,
        Code::InvalidGroupId,
        Code::UnknownMemberId,
        Code::InvalidSessionTimeout,
        Code::RebalanceInProgress,
        Code::InvalidCommitOffsetSize,
        Code::TopicAuthorizationFailed,
        Code::GroupAuthorizationFailed,
        Code::ClusterAuthorizationFailed,
        Code::InvalidTimestamp,
        Code::UnsupportedSASLMechanism,
        Code::IllegalSASLState,
        Code::UnsupportedVersion,
        Code::TopicAlreadyExists,
        Code::InvalidPartitions,
        Code::InvalidReplicationFactor,
        Code::InvalidReplicaAssignment,
        Code::InvalidConfig,
        Code::NotController,
        Code::InvalidRequest,
        Code::UnsupportedForMessageFormat,
        Code::PolicyViolation,
        Code::OutOfOrderSequenceNumber,
        Code::DuplicateSequenceNumber,
        Code::InvalidProducerEpoch,
        Code::InvalidTransactionalState,
        Code::InvalidProducerIdMapping,
        Code::InvalidTransactionTimeout,
        Code::ConcurrentTransactions,
        Code::TransactionCoordinatorFenced,
        Code::TransactionalIdAuthorizationFailed,
        Code::SecurityDisabled,
        Code::OperationNotAttempted,
        Code::KafkaStorageError,
        Code::LogDirNotFound,
        Code::SaslAuthenticationFailed,
        Code::UnknownProducerId,
        Code::ReassignmentInProgress,
        Code::DelegationTokenAuthDisabled,
        Code::DelegationTokenNotFound,
        Code::DelegationTokenOwnerMismatch,
        Code::DelegationTokenRequestNotAllowed,
        Code::DelegationTokenAuthorizationFailed,
        Code::DelegationTokenExpired,
        Code::InvalidPrincipalType,
        Code::NonEmptyGroup,
        Code::GroupIdNotFound,
        Code::FetchSessionIdNotFound,
        Code::InvalidFetchSessionEpoch,
        Code::ListenerNotFound,
        Code::TopicDeletionDisabled,
        Code::FencedLeaderEpoch,
        Code::UnknownLeaderEpoch,
        Code::UnsupportedCompressionType,
        Code::StaleBrokerEpoch,
        Code::OffsetNotAvailable,
        Code::MemberIdRequired,
        Code::PreferredLeaderNotAvailable,
        Code::GroupMaxSizeReached,
        Code::FencedInstanceId,
        Code::EligibleLeadersNotAvailable,
        Code::ElectionNotNeeded,
        Code::NoReassignmentInProgress,
        Code::GroupSubscribedToTopic,
        Code::InvalidRecord,
        Code::UnstableOffsetCommit,
        Code::ThrottlingQuotaExceeded,
        Code::ProducerFenced,
        Code::ResourceNotFound,
        Code::DuplicateResource,
        Code::UnacceptableCredential,
        Code::InconsistentVoterSet,
        Code::InvalidUpdateVersion,
        Code::FeatureUpdateFailed,
        Code::PrincipalDeserializationFailure,
        Code::UnknownTopicId,
        Code::FencedMemberEpoch,
        Code::UnreleasedInstanceId,
        Code::UnsupportedAssignor,
        Code::StaleMemberEpoch,
        Code::UnknownSubscriptionId,
        Code::TelemetryTooLarge,
        Code::RebootstrapRequired,
    ];

    #[test]
    fn the_document_has_a_row_for_each_code_and_its_class() {
        let (_, text) = DOC.split_once("## The broker, and librdkafka").expect("the heading");
        let lines = text.lines().skip_while(|line| !line.starts_with("| ---")).skip(1);
        let rows = lines.take_while(|line| line.starts_with("| ") && !line.starts_with("| |"));
        let documented: Vec<String> = rows.map(str::to_owned).collect();
        let sorted: Vec<String> = CODES
            .iter()
            .map(|code| format!("| {} | {code:?} | {} |", *code as i32, of_code(*code).name()))
            .collect();
        assert_eq!(documented, sorted);
    }

    #[test]
    fn without_a_code_a_record_may_be_sent_again() {
        assert_eq!(of_record(&KafkaError::Canceled), ErrorClass::Transport);
        let too_large = KafkaError::MessageProduction(Code::MessageSizeTooLarge);
        assert_eq!(of_record(&too_large), ErrorClass::Poison);
    }
}
