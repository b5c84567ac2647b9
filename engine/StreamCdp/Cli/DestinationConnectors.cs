using StreamCdp.Connectors;
using StreamCdp.Connectors.Crm;
using StreamCdp.Connectors.Email;
using StreamCdp.Connectors.Files;
using StreamCdp.Connectors.HubSpot;
using StreamCdp.Connectors.Kafka;
using StreamCdp.Connectors.Tryton;
using StreamCdp.Connectors.Webhook;
using StreamCdp.Engine.Model;

namespace StreamCdp.Cli;

/// <summary>Makes the connector of a destination of the model; nothing is connected by that.</summary>
internal static class DestinationConnectors
{
    /// <summary>What the kit needs to know of a destination that is no CRM.</summary>
    public static DestinationSettings Settings(DestinationDefinition destination) => new()
    {
        Id = destination.Id,
        Kind = destination.Kind,
        Target = destination.Target,
        Segments = destination.Segments.Count == 0 ? null : destination.Segments.ToHashSet(StringComparer.Ordinal),
        SendsMemberships = destination.SendsMemberships,
        SendsProfiles = destination.SendsProfiles,
        Fields = destination.Fields,
        Consent = destination.Consent,
        StartsPaused = destination.StartsPaused,
        BatchLimit = destination.BatchLimit,
        RequestsPerSecond = destination.RequestsPerSecond,
    };

    /// <summary>The connector of a destination that is no CRM.</summary>
    /// <exception cref="CliException">Its options are wrong in a way that the model alone does not show.</exception>
    public static IDestination Create(DestinationDefinition destination) => destination switch
    {
        { Kafka: { } kafka } => Kafka(destination, kafka),
        { File: { } file } => Files(destination, file),
        _ => Webhook(destination),
    };

    /// <summary>The connector of a CRM.</summary>
    /// <param name="destination">The destination.</param>
    /// <param name="crm">What is mapped.</param>
    /// <param name="gate">Is asked before each request.</param>
    /// <exception cref="CliException">Its options are wrong in a way that the model alone does not show.</exception>
    public static ICrm Crm(DestinationDefinition destination, CrmDefinition crm, IRequestGate gate)
    {
        if (destination.Kind == "hubspot")
        {
            string[] properties = [.. crm.Fields.Select(field => field.Field)];
            var hubspot = new HubSpotOptions
            {
                BaseUrl = destination.Url!,
                AccessToken = destination.Secret,
                ApiVersion = crm.ApiVersion,
                Activities = crm.Activities,
                AllowsHttp = destination.AllowsHttp,
                Timeout = TimeSpan.FromMilliseconds(destination.TimeoutMs),
                Properties = new Dictionary<CrmObject, IReadOnlyList<string>> { [CrmObject.Contact] = properties, [CrmObject.Company] = ["name", "domain", "industry", "city", "country", "numberofemployees", "annualrevenue"], [CrmObject.Deal] = [] }, // Not all: many change by themselves.
            };
            ThrowIfWrong(destination, hubspot.Errors());
            return new HubSpotCrm(hubspot, gate, TimeProvider.System);
        }

        var tryton = new TrytonOptions { Url = destination.Url!, User = crm.User, Password = destination.Secret, AllowsHttp = destination.AllowsHttp, Timeout = TimeSpan.FromMilliseconds(destination.TimeoutMs), ReadsNotes = crm.Activities.Count > 0 };
        ThrowIfWrong(destination, tryton.Errors());
        return new TrytonCrm(tryton, gate, TimeProvider.System);
    }

    /// <summary>Reads what a CRM with webhooks sends.</summary>
    public static ICrmWebhook Webhooks(DestinationDefinition destination) => new HubSpotWebhookReader(destination.Crm!.Webhook!.Secret, destination.Crm.Webhook.Url);

    /// <summary>The connector of a destination that sends mails.</summary>
    /// <exception cref="CliException">Its options are wrong in a way that the model alone does not show.</exception>
    public static EmailTarget Email(DestinationDefinition destination, EmailDefinition email)
    {
        var options = new EmailOptions
        {
            Url = destination.Url!,
            User = email.User,
            Password = destination.Secret,
            From = email.From,
            CaFile = email.CaFile,
            AllowsPlain = destination.AllowsHttp,
            Timeout = TimeSpan.FromMilliseconds(destination.TimeoutMs),
        };
        ThrowIfWrong(destination, options.Errors());
        return new EmailTarget(options, TimeProvider.System);
    }

    /// <summary>The mapped fields of a CRM's contacts.</summary>
    public static IReadOnlyList<FieldRule> Rules(CrmDefinition crm, CdpModel model) => [.. crm.Fields.Select(field => new FieldRule(field.Field, field.Value, field.Direction, field.Policy, TypeOf(field.Value, model)))];

    private static CrmFieldType TypeOf(PathExpression? value, CdpModel model) =>
        value?.Root == PathRoot.Computed && model.Computed.FirstOrDefault(computed => computed.Name == value.Path[0])?.Value is { } expression && expression is CollectionExpression { Function: not "exists" } or FunctionExpression { Kind: EventFunction.Count or EventFunction.Sum or EventFunction.Min or EventFunction.Max or EventFunction.Avg } ? CrmFieldType.Number : CrmFieldType.Text;

    private static WebhookDestination Webhook(DestinationDefinition destination)
    {
        var options = new WebhookOptions { Url = destination.Url!, Secret = destination.Secret, AllowsHttp = destination.AllowsHttp, Timeout = TimeSpan.FromMilliseconds(destination.TimeoutMs) };
        ThrowIfWrong(destination, options.Errors());
        return new WebhookDestination(options, TimeProvider.System);
    }

    private static KafkaDestination Kafka(DestinationDefinition destination, KafkaDefinition kafka)
    {
        var options = new KafkaOptions
        {
            Brokers = kafka.Brokers,
            Topic = kafka.Topic,
            Tls = kafka.Tls,
            CaPath = kafka.CaPath,
            User = kafka.User,
            Secret = destination.Secret,
            Sasl = kafka.Sasl,
            Timeout = TimeSpan.FromMilliseconds(destination.TimeoutMs),
        };
        ThrowIfWrong(destination, options.Errors());
        return new KafkaDestination(options);
    }

    private static FilesDestination Files(DestinationDefinition destination, FileDefinition file)
    {
        var options = new FilesOptions
        {
            Path = file.Path,
            Columns = [.. destination.Fields.Select(field => field.Name)],
            Rotate = TimeSpan.FromMilliseconds(file.RotateMs),
            MaxBytes = (long)file.MaxMib << 20,
            IsGroupReadable = file.IsGroupReadable,
            EscapesFormulas = file.EscapesFormulas,
            Timeout = TimeSpan.FromMilliseconds(destination.TimeoutMs),
        };
        ThrowIfWrong(destination, options.Errors());
        return new FilesDestination(options, TimeProvider.System);
    }

    private static void ThrowIfWrong(DestinationDefinition destination, IEnumerable<string> errors)
    {
        string[] wrong = [.. errors];
        if (wrong.Length > 0)
        {
            throw new CliException($"Destination {destination.Id}: {string.Join("; ", wrong)}.");
        }
    }
}
