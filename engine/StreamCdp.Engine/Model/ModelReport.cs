namespace StreamCdp.Engine.Model;

/// <summary>What <c>streamcdp check</c> prints about a good model, for a person to compare with what was meant.</summary>
public static class ModelReport
{
    /// <summary>Width of the buckets of a windowed function (RULES.md §6.3), ms; happened and sequence have none: they are exact.</summary>
    /// <param name="windowMs">Window, ms, above 0.</param>
    public static long BucketWidthMs(long windowMs) => windowMs switch
    {
        <= 2 * 60_000 => 1000,
        <= 2 * 3_600_000 => 60_000,
        <= 14 * ExpressionWords.DayMs => 3_600_000,
        _ => ExpressionWords.DayMs,
    };

    /// <summary>Writes sources, identifiers, traits, computed traits and segments with their functions, destinations, then the notes. No secret is in it.</summary>
    public static void Write(TextWriter writer, CdpModel model, IReadOnlyList<ModelNote> notes)
    {
        ArgumentNullException.ThrowIfNull(writer);
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(notes);

        writer.WriteLine($"model {model.Version:x16}");
        WriteSources(writer, model);
        WriteIdentifiers(writer, model);
        WriteTraits(writer, model);
        writer.WriteLine();
        writer.WriteLine($"computed traits ({model.Computed.Count})");
        foreach (ComputedDefinition computed in model.Computed)
        {
            writer.WriteLine($"  {computed.Name} = {computed.Value}");
            WriteParts(writer, computed.Value);
        }

        writer.WriteLine();
        writer.WriteLine($"segments ({model.Segments.Count}), in the order of evaluation");
        foreach (SegmentDefinition segment in model.Segments)
        {
            writer.WriteLine($"  {segment.Id}{(segment.Name == segment.Id ? "" : $" ({segment.Name})")}, version {segment.Version:x16}");
            writer.WriteLine($"    when {segment.When}");
            WriteParts(writer, segment.When);
        }

        WriteDestinations(writer, model);
        if (notes.Count > 0)
        {
            writer.WriteLine();
            writer.WriteLine($"notes ({notes.Count})");
            foreach (ModelNote note in notes)
            {
                writer.WriteLine($"  {note}");
            }
        }
    }

    private static void WriteSources(TextWriter writer, CdpModel model)
    {
        writer.WriteLine();
        writer.WriteLine($"sources ({model.Sources.Count})");
        foreach (SourceDefinition source in model.Sources)
        {
            writer.WriteLine($"  {source.Id}: {source.Kind}, {(source.Trusted ? "trusted" : "public")}{(source.WriteKey is null ? ", no write key: no HTTP client can write to it" : "")}");
        }

        writer.WriteLine();
        writer.WriteLine(model.ApiKeys.Count == 0 ? "API keys (0): the query API answers 403" : $"API keys ({model.ApiKeys.Count})");
        foreach (ApiKeyDefinition key in model.ApiKeys)
        {
            writer.WriteLine($"  {key.Id}: {string.Join(", ", key.Scopes)}");
        }
    }

    private static void WriteActions(TextWriter writer, DestinationDefinition destination)
    {
        foreach (ActionDefinition action in destination.Actions)
        {
            string what = action.Verb switch { ActionVerb.Send => "send a mail", ActionVerb.Create => $"create a {action.What}", ActionVerb.AddTo => $"add to {action.What}", _ => $"remove from {action.What}" };
            string after = action.AfterMs == 0 ? "" : $", {(action.AfterMs % 3_600_000 == 0 ? $"{action.AfterMs / 3_600_000}h" : action.AfterMs % 60_000 == 0 ? $"{action.AfterMs / 60_000}m" : $"{action.AfterMs / 1000}s")} after";
            writer.WriteLine($"    - {action.Id}: {what}{after} {(action.OnEntered ? "entering" : "leaving")} {action.Segment}{Limit(action.AtMost)}");
        }
    }

    private static string Limit(ActionLimit? limit) => limit is null ? "" : $", {limit.Times} for a person in {TimeSpan.FromMilliseconds(limit.WithinMs).TotalHours:0.##} h at most";

    private static void WriteDestinations(TextWriter writer, CdpModel model)
    {
        if (model.Destinations.Count == 0)
        {
            return;
        }

        writer.WriteLine();
        writer.WriteLine($"destinations ({model.Destinations.Count})");
        foreach (DestinationDefinition destination in model.Destinations)
        {
            if (destination.Crm is { } crm)
            {
                writer.WriteLine($"  {destination.Id}: {destination.Kind} at {destination.Target}, both ways; contacts are made for {(crm.Create.Count == 0 ? "nobody" : string.Join(", ", crm.Create))}; lists {(crm.Lists.Count == 0 ? "none" : string.Join(", ", crm.Lists))}; {destination.RequestsPerSecond} requests a second");
                foreach (CrmFieldDefinition field in crm.Fields)
                {
                    string arrow = field.Direction switch { SyncDirection.In => "->", SyncDirection.Out => "<-", _ => "<->" };
                    writer.WriteLine($"    - {field.Field} {arrow} {field.Value?.ToString() ?? "segments"}{(field.Direction == SyncDirection.In ? "" : $", {field.Policy switch { SyncPolicy.CrmWins => "crm_wins", SyncPolicy.StreamCdpWins => "streamcdp_wins", SyncPolicy.Newest => "newest", _ => "fill_empty" }}")}");
                }

                WriteActions(writer, destination);
                continue;
            }

            if (destination.Email is { } email)
            {
                writer.WriteLine($"  {destination.Id}: {destination.Kind} by {destination.Target}; {(destination.Consent is { } consent ? $"only with {consent.Path} true" : "without asking for consent")}; {(email.Unsubscribe is null ? "no links to unsubscribe" : $"links to unsubscribe at {email.Unsubscribe.GetLeftPart(UriPartial.Authority)}")}; {destination.RequestsPerSecond} mails a second{Limit(destination.AtMost)}");
                WriteActions(writer, destination);
                continue;
            }

            string sends = (destination.SendsMemberships, destination.SendsProfiles) switch { (true, true) => "memberships and profiles", (true, false) => "memberships", _ => "profiles" };
            string segments = destination.Segments.Count == 0 ? "all segments" : string.Join(", ", destination.Segments);
            writer.WriteLine($"  {destination.Id}: {destination.Kind} to {destination.Target}, {sends}, {segments}; {destination.BatchLimit} changes a request, {destination.RequestsPerSecond} requests a second");
            foreach (FieldDefinition field in destination.Fields)
            {
                writer.WriteLine($"    - {field.Name} = {field.Path}");
            }
        }
    }

    private static void WriteIdentifiers(TextWriter writer, CdpModel model)
    {
        writer.WriteLine();
        writer.WriteLine($"identifiers ({model.Identifiers.Count}), in order of priority");
        for (int i = 0; i < model.Identifiers.Count; i++)
        {
            IdentifierDefinition identifier = model.Identifiers[i];
            string from = identifier.From.Count == 0 ? "" : $", from {string.Join(", ", identifier.From.Select(PathText))}";
            string normalize = identifier.Normalize == IdentifierNormalization.None ? "" : $", normalize {identifier.Normalize.ToString().ToLowerInvariant()}";
            string country = identifier.DefaultCountry is null ? "" : $" (default country {identifier.DefaultCountry})";
            string mergeBy = identifier.MergeByServer ? ", merge by server" : "";
            int own = identifier.Blocked.Count + identifier.BlockedPatterns.Count;
            string blocked = (own, identifier.BlockedDefaults) switch { (0, true) => "", (0, false) => ", nothing blocked", (_, true) => $", {own} blocked and the defaults", _ => $", {own} blocked without the defaults" };
            writer.WriteLine($"  {i + 1}. {identifier.Type}, limit {identifier.Limit}{from}{normalize}{country}{mergeBy}{blocked}");
        }
    }

    private static void WriteTraits(TextWriter writer, CdpModel model)
    {
        writer.WriteLine();
        writer.WriteLine($"declared traits ({model.Traits.Count})");
        foreach (TraitDefinition trait in model.Traits)
        {
            string prefer = trait.Prefer.Count == 0 ? "" : $", prefer {string.Join(" over ", trait.Prefer)}";
            string from = trait.From is null ? "" : $", from {PathText(trait.From)} of every event";
            writer.WriteLine($"  {trait.Name}: {trait.Merge.ToString().ToLowerInvariant()}{prefer}{from}");
        }
    }

    private static void WriteParts(TextWriter writer, Expression expression)
    {
        foreach (FunctionExpression function in ExpressionWalk.Nodes(expression).OfType<FunctionExpression>().Distinct())
        {
            bool isExact = function.Kind is EventFunction.Happened or EventFunction.Sequence;
            string window = function.WindowMs == 0 ? "ever; needs history: events before the model knew it count only after a backfill"
                : $"{(isExact ? "exact to the millisecond" : $"buckets of {ExpressionWords.Duration(BucketWidthMs(function.WindowMs))}")}; needs history: complete {ExpressionWords.Duration(function.WindowMs)} after the model knows it, or by a backfill";
            writer.WriteLine($"    - {function}: {window}");
        }

        foreach (CollectionExpression collection in ExpressionWalk.Nodes(expression).OfType<CollectionExpression>().Distinct())
        {
            writer.WriteLine($"    - {collection}: CRM records of now; needs no history");
        }

        string[] uses = [.. ExpressionWalk.Nodes(expression).Select(node => node switch
        {
            InSegmentExpression segment => $"segment {segment.SegmentId}",
            PathExpression { Root: PathRoot.Computed } path => $"computed {path.Path[0]}",
            _ => "",
        }).Where(use => use.Length > 0).Distinct()];
        if (uses.Length > 0)
        {
            writer.WriteLine($"    - uses {string.Join(", ", uses)}");
        }
    }

    private static string PathText(string[] path)
    {
        string text = new PathExpression(PathRoot.Traits, new EquatableList<string>(path[1..])).ToString();
        return path[0] + text["traits".Length..];
    }
}
