using System.Globalization;
using System.Text;
using Confluent.Kafka;

namespace StreamCdp.Connectors.Kafka;

/// <summary>The message of a change, and what an error of the client means.</summary>
public static class KafkaRequests
{
    /// <summary>Header with <see cref="ProfileChange.Id"/>: what repeats are known by.</summary>
    public const string IdHeader = "streamcdp-id";

    /// <summary>Header with <see cref="SchemaVersion"/>, decimal.</summary>
    public const string SchemaHeader = "streamcdp-schema";

    /// <summary>Grows when a reader of the JSON would have to change; new fields and types alone do not.</summary>
    public const int SchemaVersion = 1;

    private static readonly byte[] s_schema = Encoding.UTF8.GetBytes(SchemaVersion.ToString(CultureInfo.InvariantCulture));

    /// <summary>Key: the profile's id. Value: one change as JSON. The time is the client's, of sending: with that of the change, a topic that keeps a week would throw an older one away at once.</summary>
    public static Message<string, byte[]> Message(ProfileChange change)
    {
        ArgumentNullException.ThrowIfNull(change);
        return new()
        {
            Key = change.ProfileId,
            Value = ChangeJson.Bytes(change),
            Headers = [new Header(IdHeader, Encoding.UTF8.GetBytes(change.Id)), new Header(SchemaHeader, s_schema)],
        };
    }

    /// <summary>The brokers will never take this message; sent together with others, it may be one of those that is to blame.</summary>
    internal static bool IsRefusal(ErrorCode code) => code is ErrorCode.MsgSizeTooLarge or ErrorCode.RecordListTooLarge or ErrorCode.InvalidRecord or ErrorCode.InvalidTimestamp or ErrorCode.InvalidMsgSize;

    /// <summary>Only a person can help.</summary>
    internal static bool NeedsPerson(ErrorCode code) =>
        code is ErrorCode.TopicAuthorizationFailed or ErrorCode.ClusterAuthorizationFailed or ErrorCode.SaslAuthenticationFailed or ErrorCode.Local_Authentication or ErrorCode.UnsupportedSaslMechanism or ErrorCode.IllegalSaslState or ErrorCode.TopicException or ErrorCode.PolicyViolation or ErrorCode.SecurityDisabled;

    /// <summary>What to do about an error that needs a person.</summary>
    internal static string Advice(ErrorCode code, KafkaOptions options) => code switch
    {
        ErrorCode.TopicAuthorizationFailed or ErrorCode.ClusterAuthorizationFailed =>
            $"{User(options)} may not write to the topic {options.Topic}. Give it the right: kafka-acls.sh --bootstrap-server {options.Brokers} --add --allow-principal User:{options.User ?? "ANONYMOUS"} --operation Write --topic {options.Topic}; then resume",
        ErrorCode.SaslAuthenticationFailed or ErrorCode.Local_Authentication =>
            $"{User(options)} is not let in: check user, secret and sasl ({options.Sasl}), then start again with the right ones, or resume when the brokers know them",
        ErrorCode.UnsupportedSaslMechanism or ErrorCode.IllegalSaslState or ErrorCode.SecurityDisabled =>
            $"the brokers do not offer this login: check sasl ({options.Sasl}) and tls",
        ErrorCode.PolicyViolation => $"a policy of the brokers is against it: change the topic {options.Topic}, then resume",
        _ => $"check the name of the topic {options.Topic}",
    };

    private static string User(KafkaOptions options) => options.User is null ? "Without user, ANONYMOUS" : $"The user {options.User}";
}
