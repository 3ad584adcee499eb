"""Asks one cookie reader that is not ours what it finds in one browser profile.

It refuses to look anywhere but in the profile that it is given.
Usage: cookies.py rookiepy|browser_cookie3 chromium|firefox PROFILE
Prints one line of JSON: {"cookies": [{"name", "value", "domain"}], "error": null or text}.
"""

import json
import os
import sys


def by_rookiepy(browser, database):
    import rookiepy

    read = rookiepy.chromium_based if browser == "chromium" else rookiepy.firefox_based
    return [
        {"name": one["name"], "value": one["value"], "domain": one["domain"]}
        for one in read(database, None)
    ]


def by_browser_cookie3(browser, database):
    import browser_cookie3

    read = browser_cookie3.chromium if browser == "chromium" else browser_cookie3.firefox
    return [
        {"name": one.name, "value": one.value, "domain": one.domain}
        for one in read(cookie_file=database)
    ]


def main(tool, browser, profile):
    database = os.path.join(profile, "Cookies" if browser == "chromium" else "cookies.sqlite")
    read = {"rookiepy": by_rookiepy, "browser_cookie3": by_browser_cookie3}[tool]
    cookies, error = [], None
    try:
        cookies = read(browser, database)
    except Exception as raised:  # whatever a reader of broken or missing files may raise
        error = f"{type(raised).__name__}: {raised}"
    except BaseException as raised:  # a panic of compiled code
        if isinstance(raised, (KeyboardInterrupt, SystemExit)):
            raise
        error = f"{type(raised).__name__}: {raised}"
    print(json.dumps({"cookies": cookies, "error": error}))


if __name__ == "__main__":
    main(*sys.argv[1:])
