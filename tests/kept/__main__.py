from tests.kept import main

main()
