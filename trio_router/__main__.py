from trio_router.cli.commands import main

main()
