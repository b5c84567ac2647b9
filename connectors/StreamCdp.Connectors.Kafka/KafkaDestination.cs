using Confluent.Kafka;
using Confluent.Kafka.Admin;

namespace StreamCdp.Connectors.Kafka;

/// <summary>Writes each change as a message to one topic. The outcome of each is its delivery report.</summary>
/// <remarks>
/// The order of a profile rests on three things. A batch has one change of a profile at most (<see cref="AnswersPerChange"/>), so one that failed is not overtaken by a later one.
/// A call returns only when each message has its report, so none is left in the client's queue to be sent later. And one client is kept for the destination's life: a message
/// that timed out while a broker held it cannot appear behind newer ones, because brokers drop what comes from the client's former epoch. Only where the client
/// failed for good a new one is made; then such a message may come late once, and readers know it by its version.
/// </remarks>
public sealed class KafkaDestination : IDestination, ICheckable
{
    private readonly KafkaOptions _options;
    private IProducer<string, byte[]>? _producer;
    private bool _isTopicThere;
    private volatile Error? _trouble;
    private volatile bool _failedForGood;

    /// <summary>Makes it; nothing is connected yet.</summary>
    /// <param name="options">Checked: <see cref="KafkaOptions.Errors"/> is empty.</param>
    public KafkaDestination(KafkaOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        _options = options;
    }

    /// <inheritdoc/>
    public bool AnswersPerChange => true;

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<Outcome>> SendAsync(IReadOnlyList<ProfileChange> batch, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(batch);
        IProducer<string, byte[]> producer = Producer();
        if (!_isTopicThere)
        {
            await EnsureTopicAsync(producer, cancellationToken).ConfigureAwait(false);
        }

        Error?[] errors = await Task.WhenAll(batch.Select(change => ProduceAsync(producer, change, cancellationToken))).ConfigureAwait(false);
        for (int i = 0; i < errors.Length; i++)
        {
            if (batch.Count > 1 && errors[i] is { } together && KafkaRequests.IsRefusal(together.Code))
            {
                errors[i] = await ProduceAsync(producer, batch[i], cancellationToken).ConfigureAwait(false); // Messages travel together and are refused together: alone it shows who was meant.
            }
        }

        return Outcomes(errors);
    }

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<Finding>> CheckAsync(CancellationToken cancellationToken)
    {
        using IAdminClient admin = new DependentAdminClientBuilder(Producer().Handle).Build();
        if (await FindTopicAsync(admin, cancellationToken).ConfigureAwait(false) is { } topic)
        {
            return topic.AuthorizedOperations is { } allowed && !allowed.Contains(AclOperation.Write)
                ? [new Finding("topic", KafkaRequests.Advice(ErrorCode.TopicAuthorizationFailed, _options), IsProblem: true)]
                : [new Finding("topic", $"{_options.Topic} has {topic.Partitions.Count} partitions, and may be written; no change was sent")];
        }

        await MakeTopicAsync(admin, isOnlyAsked: true, cancellationToken).ConfigureAwait(false);
        return [new Finding("topic", $"there is no topic {_options.Topic}; the server makes it with the first change")];
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync()
    {
        _producer?.Dispose();
        return ValueTask.CompletedTask;
    }

    private static async Task<Error?> ProduceAsync(IProducer<string, byte[]> producer, string topic, ProfileChange change, CancellationToken cancellationToken)
    {
        try
        {
            await producer.ProduceAsync(topic, KafkaRequests.Message(change), cancellationToken).ConfigureAwait(false);
            return null;
        }
        catch (ProduceException<string, byte[]> exception)
        {
            return exception.Error;
        }
    }

    private Task<Error?> ProduceAsync(IProducer<string, byte[]> producer, ProfileChange change, CancellationToken cancellationToken) => ProduceAsync(producer, _options.Topic, change, cancellationToken);

    private IReadOnlyList<Outcome> Outcomes(Error?[] errors)
    {
        if (Array.Exists(errors, error => error is null))
        {
            _trouble = null;
        }

        if (Array.Find(errors, error => error is not null && KafkaRequests.NeedsPerson(error.Code)) is { } person)
        {
            throw MustPause(person);
        }

        if (Array.Exists(errors, error => error?.Code is ErrorCode.Local_UnknownTopic or ErrorCode.UnknownTopicOrPart))
        {
            _isTopicThere = false; // Gone meanwhile: it is looked for, and made, before the next try.
        }

        if (Array.TrueForAll(errors, error => error is not null && !KafkaRequests.IsRefusal(error.Code)))
        {
            throw Unavailable(errors[0]!);
        }

        return [.. errors.Select(error => error is null ? Outcome.Taken : KafkaRequests.IsRefusal(error.Code) ? Refused(error) : Outcome.TryAgain($"Kafka did not confirm it: {error.Reason}"))];
    }

    private Outcome Refused(Error error) => Outcome.Refused(error.Code is ErrorCode.MsgSizeTooLarge or ErrorCode.InvalidMsgSize or ErrorCode.RecordListTooLarge
        ? $"The topic {_options.Topic} does not take a message of this size ({error.Reason}). Raise its max.message.bytes (this connector sends up to {KafkaOptions.MaxMessageBytes} bytes), or map fewer fields."
        : $"The topic {_options.Topic} does not take the message: {error.Reason}.");

    private IProducer<string, byte[]> Producer()
    {
        if (_failedForGood)
        {
            _producer?.Dispose();
            (_producer, _failedForGood) = (null, false);
        }

        if (_producer is not null)
        {
            return _producer;
        }

        try
        {
            return _producer = new ProducerBuilder<string, byte[]>(_options.Client())
                .SetErrorHandler((_, error) =>
                {
                    _trouble = _trouble is not null && error.Code == ErrorCode.Local_AllBrokersDown ? _trouble : error; // That comes after each broker's own error, and says less.
                    _failedForGood |= error.IsFatal;
                })
                .SetLogHandler((_, _) => { }) // Else the client writes to the console. What matters comes as an error.
                .Build();
        }
        catch (Exception exception) when (exception is InvalidOperationException or ArgumentException or KafkaException)
        {
            throw new DestinationMustPauseException($"The Kafka client does not take the settings ({exception.Message.TrimEnd('.')}). Check brokers, tls, ca, user and sasl.");
        }
    }

    private async Task EnsureTopicAsync(IProducer<string, byte[]> producer, CancellationToken cancellationToken)
    {
        using IAdminClient admin = new DependentAdminClientBuilder(producer.Handle).Build();
        if (await FindTopicAsync(admin, cancellationToken).ConfigureAwait(false) is null)
        {
            await MakeTopicAsync(admin, isOnlyAsked: false, cancellationToken).ConfigureAwait(false);
        }

        _isTopicThere = true;
    }

    /// <returns>The topic, or null where there is none.</returns>
    private async Task<TopicDescription?> FindTopicAsync(IAdminClient admin, CancellationToken cancellationToken)
    {
        try
        {
            DescribeTopicsResult found = await admin.DescribeTopicsAsync(TopicCollection.OfTopicNames([_options.Topic]), new DescribeTopicsOptions { RequestTimeout = _options.Timeout, IncludeAuthorizedOperations = true }).WaitAsync(cancellationToken).ConfigureAwait(false);
            return found.TopicDescriptions[0];
        }
        catch (DescribeTopicsException exception) when (exception.Results.TopicDescriptions is [{ Error.Code: ErrorCode.UnknownTopicOrPart }])
        {
            return null;
        }
        catch (DescribeTopicsException exception) when (exception.Results.TopicDescriptions is [{ } one])
        {
            throw Problem(one.Error);
        }
        catch (KafkaException exception)
        {
            throw Problem(exception.Error);
        }
    }

    private async Task MakeTopicAsync(IAdminClient admin, bool isOnlyAsked, CancellationToken cancellationToken)
    {
        try
        {
            await admin.CreateTopicsAsync(
                [new TopicSpecification { Name = _options.Topic, NumPartitions = -1, ReplicationFactor = -1 }],
                new CreateTopicsOptions { ValidateOnly = isOnlyAsked, OperationTimeout = _options.Timeout, RequestTimeout = _options.Timeout }).WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (CreateTopicsException exception) when (exception.Results is [{ Error.Code: ErrorCode.TopicAlreadyExists }])
        {
            // Somebody was faster.
        }
        catch (CreateTopicsException exception) when (exception.Results is [{ } one])
        {
            throw one.Error.Code is ErrorCode.RequestTimedOut or ErrorCode.NotController ? Unavailable(one.Error) : new DestinationMustPauseException(
                $"There is no topic {_options.Topic}, and the brokers do not make it ({one.Error.Reason.TrimEnd('.')}). Make it by: kafka-topics.sh --bootstrap-server {_options.Brokers} --create --topic {_options.Topic} --partitions N; then resume.");
        }
        catch (KafkaException exception)
        {
            throw Problem(exception.Error);
        }
    }

    private Exception Problem(Error error) => KafkaRequests.NeedsPerson(error.Code) ? MustPause(error) : Unavailable(error);

    private DestinationMustPauseException MustPause(Error error) => new($"Kafka at {_options.Brokers}: {error.Reason.TrimEnd('.')}. {KafkaRequests.Advice(error.Code, _options)}.");

    /// <summary>A login that is refused shows to a message only as a timeout; the reason came before, apart.</summary>
    private Exception Unavailable(Error error)
    {
        if (_trouble is { } trouble && KafkaRequests.NeedsPerson(trouble.Code))
        {
            _trouble = null;
            return MustPause(trouble);
        }

        string why = _trouble is { } last && error.IsLocalError ? $"{error.Reason.TrimEnd('.')}; {last.Reason.TrimEnd('.')}" : error.Reason.TrimEnd('.');
        return new DestinationUnavailableException($"Kafka at {_options.Brokers} did not confirm within {_options.Timeout.TotalSeconds:0.###} s ({why}). Check that the brokers run, can be reached from here by the names they tell, and that enough replicas are in sync.", inner: new KafkaException(error));
    }
}
