"""The first session of the README, with a client that was generated from /openapi.json."""

import sys
import time

from pp_client import Client
from pp_client.api.works import create_work, get_work, list_events
from pp_client.models import NewWorkSum, Status


def main(url):
    with Client(base_url=url, raise_on_unexpected_status=True) as client:
        random = create_work.sync(client=client, body=NewWorkSum())
        assert 1 <= random.add_up_to <= 99, random
        created = create_work.sync(client=client, body=NewWorkSum(add_up_to=100))
        deadline = time.monotonic() + 20
        while True:
            work = get_work.sync(created.id, client=client)
            if work.done:
                break
            assert time.monotonic() < deadline, work
            time.sleep(0.05)
        assert work.status == Status.DONE, work
        for event in list_events.sync(work.id, client=client):
            print(event.variable, event.value)
        missing = get_work.sync_detailed(1_000_000, client=client)
        print(missing.status_code.value, missing.parsed.code)
        print("result", work.result)


main(sys.argv[1])
