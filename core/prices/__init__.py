"""What tokens cost: the only place that knows genai-prices. Pure: no network, no ledger.

`table.PriceTable` answers what a model costs, where the price comes from and since when;
`snapshot.Snapshot` keeps that with a batch for ever; `rates.Price.cost` prices one line.
Only `published` imports genai_prices; what prices lines from a snapshot does without it.
"""
