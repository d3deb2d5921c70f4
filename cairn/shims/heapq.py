"""`heapq`: a list kept as a heap, and the largest and smallest of many."""


class cairn_heapq:
    def heappush(heap, item):
        heap.append(item)
        place = len(heap) - 1
        while place > 0:
            above = (place - 1) // 2
            if not item < heap[above]:
                break
            heap[place] = heap[above]
            place = above
        heap[place] = item

    def heappop(heap):
        last = heap.pop()
        if not heap:
            return last
        first = heap[0]
        heap[0] = last
        cairn_heapq._sink(heap, 0)
        return first

    def heapify(x):
        for place in range(len(x) // 2 - 1, -1, -1):
            cairn_heapq._sink(x, place)

    def heapreplace(heap, item):
        first = heap[0]
        heap[0] = item
        cairn_heapq._sink(heap, 0)
        return first

    def heappushpop(heap, item):
        return cairn_heapq.heapreplace(heap, item) if heap and heap[0] < item else item

    def nlargest(n, iterable, key=None):
        return sorted(iterable, key=key, reverse=True)[: max(n, 0)]

    def nsmallest(n, iterable, key=None):
        return sorted(iterable, key=key)[: max(n, 0)]

    def merge(*iterables, key=None, reverse=False):
        return sorted([item for each in iterables for item in each], key=key, reverse=reverse)

    def _sink(heap, place):
        item, size = heap[place], len(heap)
        while True:
            below = 2 * place + 1
            if below >= size:
                break
            if below + 1 < size and heap[below + 1] < heap[below]:
                below += 1
            if not heap[below] < item:
                break
            heap[place] = heap[below]
            place = below
        heap[place] = item
