using Confluent.Kafka;
using Confluent.Kafka.Admin;
using StreamCdp.Connectors;
using StreamCdp.Connectors.Kafka;

namespace StreamCdp.Integration.Tests;

/// <summary>The destination against brokers that ask who it is, and what it may.</summary>
public sealed class KafkaDestinationRightsTests : IAsyncLifetime
{
    private const string Secret = "app-secret-0123456789";

    private static readonly ProfileChange Change = new() { Kind = ChangeKind.Merged, ProfileId = new string('a', 32), Version = 1, At = DateTimeOffset.UnixEpoch, MergedInto = new string('b', 32) };

    private KafkaCluster _cluster = null!;
    private IAdminClient _admin = null!;

    public async ValueTask InitializeAsync()
    {
        Assert.SkipWhen(KafkaCluster.Home is null, KafkaCluster.WhyNot);
        _cluster = await KafkaCluster.StartAsync(
            "listener.security.protocol.map=PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
            "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512",
            "sasl.mechanism.inter.broker.protocol=PLAIN",
            $"listener.name.plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username=\"admin\" password=\"admin-secret\" user_admin=\"admin-secret\" user_app=\"{Secret}\";",
            "listener.name.plaintext.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;",
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users=User:admin;User:ANONYMOUS"); // Of the controller's listener.
        _admin = new AdminClientBuilder(new AdminClientConfig { BootstrapServers = _cluster.BootstrapServers, SecurityProtocol = SecurityProtocol.SaslPlaintext, SaslMechanism = SaslMechanism.Plain, SaslUsername = "admin", SaslPassword = "admin-secret" }).Build();
    }

    public async ValueTask DisposeAsync()
    {
        if (_cluster is not null)
        {
            _admin.Dispose();
            await _cluster.DisposeAsync();
        }
    }

    [Fact]
    public async Task Who_is_not_let_in_or_may_not_write_is_told_what_to_do_and_then_goes_on()
    {
        await using (var stranger = new KafkaDestination(Options() with { Secret = "not-the-secret" }))
        {
            Assert.DoesNotContain("not-the-secret", await PausedAsync(stranger, "The user app is not let in: check user, secret and sasl"), StringComparison.Ordinal);
        }

        await using var destination = new KafkaDestination(Options());
        await PausedAsync(destination, "kafka-acls.sh"); // It is not even told whether the topic is there.

        await AllowAsync(AclOperation.Describe);
        string missing = await PausedAsync(destination, "There is no topic changes, and the brokers do not make it");
        Assert.Contains($"kafka-topics.sh --bootstrap-server {_cluster.BootstrapServers} --create --topic changes --partitions N; then resume", missing, StringComparison.Ordinal);

        await _admin.CreateTopicsAsync([new TopicSpecification { Name = "changes", NumPartitions = 1, ReplicationFactor = 1 }]);
        await PausedAsync(destination, "The user app may not write to the topic changes. Give it the right: kafka-acls.sh");

        Finding problem = Assert.Single(await destination.CheckAsync(TestContext.Current.CancellationToken));
        Assert.StartsWith("The user app may not write to the topic changes.", problem.Text, StringComparison.Ordinal);
        Assert.Equal(("topic", true), (problem.Key, problem.IsProblem));

        await AllowAsync(AclOperation.Write);
        await TakenAsync(destination);
        Assert.False(Assert.Single(await destination.CheckAsync(TestContext.Current.CancellationToken)).IsProblem);
    }

    [Fact]
    public async Task A_user_of_SCRAM_writes_with_the_right_to_write_alone()
    {
        await _admin.AlterUserScramCredentialsAsync([new UserScramCredentialUpsertion { User = "app", ScramCredentialInfo = new ScramCredentialInfo { Mechanism = ScramMechanism.ScramSha512, Iterations = 4096 }, Password = System.Text.Encoding.UTF8.GetBytes(Secret) }]);
        await AllowAsync(AclOperation.Write);
        await _admin.CreateTopicsAsync([new TopicSpecification { Name = "changes", NumPartitions = 1, ReplicationFactor = 1 }]);
        await using var destination = new KafkaDestination(Options() with { Sasl = "SCRAM-SHA-512" });

        await TakenAsync(destination);
    }

    /// <summary>Until it pauses for this reason: what was changed a moment ago the broker knows a moment later.</summary>
    private static async Task<string> PausedAsync(KafkaDestination destination, string reason)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        limit.CancelAfter(TimeSpan.FromSeconds(60));
        while (true)
        {
            string message = (await Assert.ThrowsAsync<DestinationMustPauseException>(async () => await destination.SendAsync([Change], limit.Token))).Message;
            if (message.Contains(reason, StringComparison.Ordinal))
            {
                return message;
            }
        }
    }

    private static async Task TakenAsync(KafkaDestination destination)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        limit.CancelAfter(TimeSpan.FromSeconds(60));
        while (true)
        {
            try
            {
                Assert.Equal(OutcomeKind.Taken, Assert.Single(await destination.SendAsync([Change], limit.Token)).Kind);
                return;
            }
            catch (DestinationMustPauseException)
            {
                // Not yet known there.
            }
        }
    }

    private KafkaOptions Options() => new() { Brokers = _cluster.BootstrapServers, Topic = "changes", User = "app", Secret = Secret, Sasl = "PLAIN" };

    private async Task AllowAsync(AclOperation operation)
    {
        var acl = new AclBinding
        {
            Pattern = new ResourcePattern { Type = ResourceType.Topic, Name = "changes", ResourcePatternType = ResourcePatternType.Literal },
            Entry = new AccessControlEntry { Principal = "User:app", Host = "*", Operation = operation, PermissionType = AclPermissionType.Allow },
        };
        await _admin.CreateAclsAsync([acl]);
    }
}
