from tests.relay.routes import *
from trio_router.demo import *
from tests.relay.test_streams import *

async def test_500_once(autojump_clock):
    async with scene() as s:
        s.script("x", error_answer(500, "oops", "server_error"), good())
        seen = await s.ask()
        print(seen, s.asked, s.line)
        assert seen.is_clean
        assert s.asked == [("x", 0.0), ("x", 0.25)]
        s.script("x", error_answer(503, "oops", "server_error"))
        s.script("y", good())
        seen = await s.ask()
        print(seen, s.asked, s.line)
        s.script("y", error_answer(503, "oops", "server_error"))
        seen = await s.ask()
        print(seen, s.asked, s.line)
        seen = await s.ask(stream=False)
        print(seen, s.asked, s.line)
