"""The people of the demo: guests, and two sample users that a click turns the visitor into.

Without a password, so only while DEBUG is on, and only users that can do nothing else: no staff.
"""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth import get_user_model, login, logout
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

GUEST = "guest"
SAMPLES = ["ada", "ben"]


def make() -> list[str]:
    """Make the sample users that are missing; @returns their names."""
    users = get_user_model().objects
    missing = [name for name in SAMPLES if not users.filter(username=name).exists()]
    for name in missing:
        users.create_user(name)  # without a password: nobody logs in as one of them by the admin's form
    return missing


def ensure_session(request: HttpRequest) -> None:
    """Give a guest a session: its key is what tells that two tabs are the same visitor's.

    For pages with a live stream only; whoever is logged in has one.
    """
    session = request.session
    session.keys()  # loads it: a session that has ended loses its key here
    if session.session_key is None:
        session.create()


@require_POST
def switch(request: HttpRequest) -> HttpResponse:
    """Become a guest, ada or ben: one click, and the way back to the same page."""
    if not settings.DEBUG:
        raise Http404
    who = request.POST.get("who", "")
    if who == GUEST:
        logout(request)
    elif who in SAMPLES:
        harmless = {"is_active": True, "is_staff": False, "is_superuser": False}
        user = get_object_or_404(get_user_model(), username=who, **harmless)
        login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    else:
        raise Http404
    back = request.POST.get("next", "")
    safe = url_has_allowed_host_and_scheme(back, allowed_hosts=None) and back.startswith("/")
    return HttpResponseRedirect(back if safe else reverse("board:list"))
