"""`statistics`: means, medians, modes and spreads."""

import math


class cairn_statistics:
    def mean(data):
        values = cairn_statistics._some(data, "mean")
        total = sum(values) if all(isinstance(v, int) for v in values) else math.fsum(values)
        average = total / len(values)
        return int(average) if isinstance(total, int) and total % len(values) == 0 else average

    def fmean(data):
        values = cairn_statistics._some(data, "fmean")
        return math.fsum(values) / len(values)

    def median(data):
        values = sorted(cairn_statistics._some(data, "median"))
        half = len(values) // 2
        return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2

    def median_low(data):
        values = sorted(cairn_statistics._some(data, "median"))
        return values[(len(values) - 1) // 2]

    def median_high(data):
        values = sorted(cairn_statistics._some(data, "median"))
        return values[len(values) // 2]

    def multimode(data):
        counts = {}
        for value in data:
            counts[value] = counts.get(value, 0) + 1
        most = max(list(counts.values())) if counts else 0
        return [value for value, count in counts.items() if count == most]

    def mode(data):
        found = cairn_statistics.multimode(list(data))
        if not found:
            raise ValueError("no mode for empty data")
        return found[0]

    def pvariance(data, mu=None):
        values = cairn_statistics._some(data, "pvariance")
        return cairn_statistics._squares(values, mu) / len(values)

    def variance(data, xbar=None):
        values = list(data)
        if len(values) < 2:
            raise ValueError("variance requires at least two data points")
        return cairn_statistics._squares(values, xbar) / (len(values) - 1)

    def pstdev(data, mu=None):
        return math.sqrt(cairn_statistics.pvariance(data, mu))

    def stdev(data, xbar=None):
        return math.sqrt(cairn_statistics.variance(data, xbar))

    def _squares(values, middle):
        middle = math.fsum(values) / len(values) if middle is None else middle
        return math.fsum([(value - middle) ** 2 for value in values])

    def _some(data, name):
        values = list(data)
        if not values:
            raise ValueError(name + " requires at least one data point")
        return values
