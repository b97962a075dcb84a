from trio_router.cli import main

main()
